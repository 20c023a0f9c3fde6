"""Whole numbers between numpy and Arrow, by their buffers: Arrow's own ways import pandas, where that is installed, to look at a value."""

from typing import TypeAlias

import numpy as np
import pyarrow as pa

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Flags: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]


def numbers(rows: int, first: int = 0) -> pa.Array:
    """0, 1, 2, ..., to number rows with; or from another `first` one."""
    return arrow(np.arange(first, first + rows, dtype=np.int64))


def spread(count: int, rows: int) -> pa.Array:
    """So many numbers of rows, evenly over all of them, to take a sample with."""
    return arrow(np.arange(count, dtype=np.int64) * rows // count)


def number(value: int) -> pa.Scalar:
    """One number, to compare a column with."""
    return arrow(np.array([value], dtype=np.int64))[0]


def arrow(values: Numbers) -> pa.Array:
    """These numbers."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def with_gaps(values: Numbers) -> pa.Array:
    """These numbers, NULL for those below 0."""
    there = pa.py_buffer(np.packbits(values >= 0, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [there, pa.py_buffer(np.ascontiguousarray(values))])


def filled(column: pa.ChunkedArray, value: int) -> Numbers:
    """The numbers of a column of them, with `value` for NULL."""
    chunks = (column.fill_null(number(value)) if column.null_count else column).chunks
    found = [np.frombuffer(chunk.buffers()[1], np.int64, len(chunk), chunk.offset * 8) for chunk in chunks if len(chunk)]
    return found[0] if len(found) == 1 else np.concatenate([np.empty(0, np.int64), *found])


def valid(column: pa.ChunkedArray) -> Flags:
    """Where a column has a value."""
    return np.ones(len(column), np.bool_) if not column.null_count else filled(column.is_valid().cast(pa.int64()), 0) == 1
