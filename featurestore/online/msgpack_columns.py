"""Encode keys as MessagePack column by column: each column appends its bytes to every key.

Formats: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
NIL = 0xC0
# Minimum, maximum, number of bytes after the tag, tag; -32 to 127 are encoded as the tag itself.
_INTEGER_FORMS = (
    (128, 0xFF, 1, 0xCC),
    (0x100, 0xFFFF, 2, 0xCD),
    (0x1_0000, 0xFFFF_FFFF, 4, 0xCE),
    (0x1_0000_0000, (1 << 63) - 1, 8, 0xCF),
    (-(1 << 7), -33, 1, 0xD0),
    (-(1 << 15), -(1 << 7) - 1, 2, 0xD1),
    (-(1 << 31), -(1 << 15) - 1, 4, 0xD2),
    (-(1 << 63), -(1 << 31) - 1, 8, 0xD3),
)
# The same for the lengths of bin; the tags of str are 0x15 higher.
_LENGTH_FORMS = ((0, 0xFF, 1, 0xC4), (0x100, 0xFFFF, 2, 0xC5), (0x1_0000, 0xFFFF_FFFF, 4, 0xC6))


class MsgpackColumns:
    """The bytes of `rows` rows, appended column by column; `join` returns one binary value per row."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._fixed: list[tuple[Bytes, Flags | None]] = []
        self._segments: list[pa.Array] = []

    def constant(self, data: bytes) -> None:
        """Append the same bytes to every row."""
        self._fixed.append((np.tile(np.frombuffer(data, np.uint8), (self.rows, 1)), None))

    def array_header(self, length: int) -> None:
        """Append the header of an array of `length` items."""
        self.constant(bytes([0x90 | length]) if length < 16 else b"\xdc" + length.to_bytes(2, "big"))

    def add_tagged(self, tag: bytes, matrix: Bytes, nulls: Flags | None) -> None:
        """Append `tag` and one row of the matrix to each row; nil for NULL."""
        cells = np.empty((self.rows, len(tag) + matrix.shape[1]), np.uint8)
        cells[:, : len(tag)] = np.frombuffer(tag, np.uint8)
        cells[:, len(tag) :] = matrix
        self._nullable(cells, nulls)

    def booleans(self, array: pa.Array) -> None:
        """Append true, false or nil."""
        values = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
        cells = np.where(values, 0xC3, 0xC2).astype(np.uint8).reshape(-1, 1)
        self._nullable(cells, _nulls(array))

    def shortest_integers(self, array: pa.Array) -> None:
        """Append each integer in its shortest form, as msgspec encodes a single one; NULL is not allowed."""
        values = _fill_nulls(array)
        cells = np.empty((self.rows, 9), np.uint8)
        cells[:, 1:] = big_endian(values, ">i8")
        keep = np.zeros((self.rows, 9), np.bool_)
        keep[:, 8] = True
        for low, high, width, tag in _INTEGER_FORMS:
            chosen = (values >= low) & (values <= high)
            cells[chosen, 8 - width] = tag
            keep[chosen, 8 - width :] = True
        self._fixed.append((cells, keep))

    def strings(self, array: pa.Array) -> None:
        """Append strings as str, binary values as bin, in their shortest form; nil for NULL."""
        text = pa.types.is_string(array.type)
        lengths = _fill_nulls(pc.binary_length(array)).astype(np.int64)
        longest = int(lengths.max()) if len(lengths) else 0
        nulls = _nulls(array)
        if text and longest < 32:
            self._nullable((0xA0 | lengths).astype(np.uint8).reshape(-1, 1), nulls)
        else:
            self._string_heads(lengths, text, nulls)
        self.binary((array if nulls is None else pc.fill_null(array, "" if text else b"")).cast(pa.binary()))

    def binary(self, array: pa.Array) -> None:
        """Append the bytes of a binary array without NULL."""
        self._flush()
        self._segments.append(array)

    def join(self) -> pa.Array:
        """One binary value per row."""
        self._flush()
        if len(self._segments) == 1:
            return self._segments[0]
        return pc.binary_join_element_wise(*self._segments, b"")

    def _string_heads(self, lengths: NDArray[np.int64], text: bool, nulls: Flags | None) -> None:
        cells = np.zeros((self.rows, 5), np.uint8)
        cells[:, 1:] = big_endian(lengths, ">u4")
        keep = np.zeros((self.rows, 5), np.bool_)
        for low, high, width, tag in _LENGTH_FORMS:
            chosen = (lengths >= low) & (lengths <= high)
            cells[chosen, 4 - width] = tag + (0x15 if text else 0)
            keep[chosen, 4 - width :] = True
        if text:
            short = lengths < 32
            cells[short, 4] |= 0xA0
            keep[short, :4] = False
        if nulls is not None:
            cells[nulls, 4] = NIL
            keep[nulls, :4] = False
        self._fixed.append((cells, keep))

    def _nullable(self, cells: Bytes, nulls: Flags | None) -> None:
        if nulls is None:
            self._fixed.append((cells, None))
            return
        cells[nulls, 0] = NIL
        keep = np.ones(cells.shape, np.bool_)
        keep[nulls, 1:] = False
        self._fixed.append((cells, keep))

    def _flush(self) -> None:
        if not self._fixed:
            return
        matrix = np.concatenate([cells for cells, _ in self._fixed], axis=1)
        offsets = np.zeros(self.rows + 1, np.int32)
        if all(keep is None for _, keep in self._fixed):
            data = matrix.reshape(-1)
            offsets[1:] = np.arange(1, self.rows + 1) * matrix.shape[1]
        else:
            keeps = np.concatenate([np.ones(cells.shape, np.bool_) if keep is None else keep for cells, keep in self._fixed], axis=1)
            data = matrix[keeps]
            offsets[1:] = keeps.sum(axis=1).cumsum()
        self._segments.append(pa.Array.from_buffers(pa.binary(), self.rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)]))
        self._fixed = []


def big_endian(values: NDArray[Any], dtype: str) -> Bytes:
    """The values as a matrix of bytes, one row each, most significant byte first."""
    return np.ascontiguousarray(values.astype(dtype)).view(np.uint8).reshape(len(values), -1)


def _nulls(array: pa.Array) -> Flags | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _fill_nulls(array: pa.Array) -> NDArray[Any]:
    filled: NDArray[Any] = (pc.fill_null(array, 0) if array.null_count else array).to_numpy(zero_copy_only=False)
    return filled
