"""A digest of a table's content: the same on any machine, at any batch size, and for every Arrow layout of a type.

Each column is cut into blocks of BLOCK rows. A block's bytes are its validity (one byte a row), then its values:
fixed-width ones little-endian with NULLs as zeros and one kind of NaN; texts and bytes as 64-bit lengths, then the
data; lists as lengths, then their values as a block. A column's digest is SHA-256 over its blocks; the table's digest
is SHA-256 over the row count and every column's name, type and digest, in order.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.values.arrays import single_array

BLOCK = 65_536


class Digest:
    """Accumulates batches in order; `columns` and `table` give the digests of all rows so far, as 64 hexadecimal digits."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns = [hashlib.sha256() for _ in schema]
        self._rest = schema.empty_table()
        self._rows = 0
        self._cached: tuple[int, list[str]] = -1, []

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add rows."""
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        self._rows += table.num_rows
        pending = pa.concat_tables([self._rest, table])
        complete = pending.num_rows - pending.num_rows % BLOCK
        for start in range(0, complete, BLOCK):
            self._add(pending.slice(start, BLOCK))
        self._rest = pending.slice(complete)

    def columns(self) -> dict[str, str]:
        """The digest of each column, by name."""
        return dict(zip(self._schema.names, self._column_digests(), strict=True))

    def table(self) -> str:
        """The digest of the table."""
        table = hashlib.sha256(str(self._rows).encode())
        for field, digest in zip(self._schema, self._column_digests(), strict=True):
            table.update(f"\n{field.name}\n{type_name(field.type)}\n{digest}".encode())
        return table.hexdigest()

    def _column_digests(self) -> list[str]:
        if self._cached[0] == self._rows:
            return self._cached[1]
        states = [state.copy() for state in self._columns]
        if self._rest.num_rows:
            for state, column in zip(states, self._rest.columns, strict=True):
                _update(state, column)
        self._cached = self._rows, [state.hexdigest() for state in states]
        return self._cached[1]

    def _add(self, block: pa.Table) -> None:
        for state, column in zip(self._columns, block.columns, strict=True):
            _update(state, column)


def table_digest(table: pa.Table) -> str:
    """The digest of a whole table."""
    digest = Digest(table.schema)
    digest.update(table)
    return digest.table()


def type_name(arrow_type: pa.DataType) -> str:
    """The name of a type, the same for every Arrow layout of it."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return str(arrow_type.extension_name)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return f"list<{type_name(arrow_type.value_type)}>"
    if pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type):
        return "string"
    return "binary" if pa.types.is_large_binary(arrow_type) or pa.types.is_binary_view(arrow_type) else str(arrow_type)


def _update(state: "hashlib._Hash", column: pa.ChunkedArray) -> None:
    for part in _bytes(single_array(column)):
        state.update(part)


def _bytes(array: pa.Array) -> Iterator[bytes | memoryview]:
    yield memoryview(array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False))
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    arrow_type = array.type
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        yield memoryview(pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64()).to_numpy(zero_copy_only=False))
        yield from _bytes(array.flatten())
    elif pa.types.is_struct(arrow_type):
        for field in array.flatten():
            yield from _bytes(field)
    elif pa.types.is_boolean(arrow_type):
        yield memoryview(pc.fill_null(array, False).cast(pa.uint8()).to_numpy(zero_copy_only=False))
    elif pa.types.is_floating(arrow_type):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
        odd = np.isnan(values)
        yield np.where(odd, np.array(np.nan, values.dtype), values).tobytes() if odd.any() else memoryview(values)
    elif pa.types.is_decimal(arrow_type) or pa.types.is_fixed_size_binary(arrow_type):
        yield _fixed_width(array)
    elif pa.types.is_primitive(arrow_type):
        width = pa.int64() if arrow_type.bit_width == 64 else pa.int32()
        numbers = array.view(width) if arrow_type.bit_width in (32, 64) else array.cast(width)
        yield memoryview(pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False))
    else:
        yield from _texts(array.cast(pa.large_binary()))


def _texts(array: pa.Array) -> Iterator[bytes | memoryview]:
    filled = pc.fill_null(array, b"")
    yield memoryview(pc.binary_length(filled).cast(pa.int64()).to_numpy(zero_copy_only=False))
    if len(filled):
        offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
        data = filled.buffers()[2]
        yield b"" if data is None else memoryview(data)[offsets[0] : offsets[-1]]


def _fixed_width(array: pa.Array) -> bytes:
    width = array.type.bit_width // 8 if pa.types.is_decimal(array.type) else array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
    return np.where(array.is_valid().to_numpy(zero_copy_only=False)[:, None], data, 0).astype(np.uint8).tobytes()
