"""Whole numbers as Arrow has them; not by pa.array and pa.scalar, which import pandas, where that is installed, to look at a value."""

import numpy as np
import pyarrow as pa


def numbers(rows: int) -> pa.Array:
    """0, 1, 2, ..., to number rows with."""
    return _array(np.arange(rows, dtype=np.int64))


def number(value: int) -> pa.Scalar:
    """One number, to compare a column with."""
    return _array(np.array([value], dtype=np.int64))[0]


def _array(values: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])
