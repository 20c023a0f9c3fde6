"""Convert integers between numpy and Arrow by their buffers: Arrow's own conversions import pandas if it is installed."""

from typing import TypeAlias

import numpy as np
import pyarrow as pa

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Flags: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]


def row_numbers(rows: int, first: int = 0) -> pa.Array:
    """Row numbers 0, 1, 2, ..., or starting at `first`."""
    return to_arrow(np.arange(first, first + rows, dtype=np.int64))


def sample_positions(count: int, rows: int) -> pa.Array:
    """`count` row positions, evenly spaced over `rows` rows, for a sample."""
    return to_arrow(np.arange(count, dtype=np.int64) * rows // count)


def int64_scalar(value: int) -> pa.Scalar:
    """An Arrow scalar, to compare a column with."""
    return to_arrow(np.array([value], dtype=np.int64))[0]


def to_arrow(values: Numbers) -> pa.Array:
    """The numbers as an Arrow array."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def to_nullable_arrow(values: Numbers) -> pa.Array:
    """The numbers as an Arrow array, with NULL for those below 0."""
    valid_bits = pa.py_buffer(np.packbits(values >= 0, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [valid_bits, pa.py_buffer(np.ascontiguousarray(values))])


def to_numpy(column: pa.ChunkedArray, value: int) -> Numbers:
    """An int64 column as numpy numbers, with `value` for NULL."""
    chunks = (column.fill_null(int64_scalar(value)) if column.null_count else column).chunks
    arrays = [np.frombuffer(chunk.buffers()[1], np.int64, len(chunk), chunk.offset * 8) for chunk in chunks if len(chunk)]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, np.int64), *arrays])


def validity(column: pa.ChunkedArray) -> Flags:
    """A numpy mask that is true where a column is not NULL."""
    return np.ones(len(column), np.bool_) if not column.null_count else to_numpy(column.is_valid().cast(pa.int64()), 0) == 1
