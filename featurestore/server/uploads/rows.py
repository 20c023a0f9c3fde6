"""The rows of a file that a client sent, checked in full and copied; runs in a process of its own, since nothing of the file is trusted."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS = 65_536
MOST_COLUMNS = 10_000
DEEPEST = 16
"""Most types inside one another: lists of structs of lists."""
LONGEST_NAME = 1_000
ROW_BYTES = 8
"""What a row counts for beside its cells, and a cell for one byte at least: files can claim rows without end that take no bytes."""
GRACE_BYTES = 256 << 20
MOST_RATIO = 1_000
"""Rows may take this many times the bytes of their file, or GRACE_BYTES where that is more. Real spines stay below a hundred."""
MIB = 1 << 20


class Refused(Exception):
    """The file cannot be taken; the message is fit for its sender."""


@dataclass(frozen=True)
class Bounds:
    """Most decoded bytes of the rows, most bytes of memory and most seconds to read them."""

    decoded: int
    memory: int
    seconds: float

    def of_file(self, descriptor: int) -> "Bounds":
        """The bounds of one open file: a small one has no business with as much as a large one."""
        decoded = min(self.decoded, max(GRACE_BYTES, MOST_RATIO * os.fstat(descriptor).st_size))
        return replace(self, decoded=decoded, memory=min(self.memory, 2 * decoded + GRACE_BYTES))


def copy(source: int, sink: int, bounds: Bounds) -> int:
    """Copy the rows of one open file to another, as an Arrow IPC stream of plain types; their number.

    A batch is validated in full before anything else looks at it. Raises: Refused, and whatever Arrow raises for a malformed file.
    """
    with open(source, "rb", buffering=0) as file, open(sink, "wb", buffering=0) as out:
        schema, batches = _opened(file)
        plain = _plain_schema(schema)
        rows = size = 0
        with pa.ipc.new_stream(pa.PythonFile(out, "w"), plain, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for batch in batches:
                size += batch.num_rows * (ROW_BYTES + batch.num_columns)
                _check_size(size, bounds)
                _validate(batch, plain)
                flat = _flat(batch, plain)
                size += flat.nbytes
                _check_size(size, bounds)
                writer.write_batch(flat)
                rows += flat.num_rows
    return rows


def _opened(file: IO[bytes]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Parquet, Arrow IPC file or Arrow IPC stream, told apart by how they begin."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PAR1"):
        # Unbuffered, a row group would be read as a whole, however large it is.
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=MIB)
        _check_count(parquet.metadata.num_columns)
        return parquet.schema_arrow, parquet.iter_batches(BATCH_ROWS, use_threads=False)
    options = pa.ipc.IpcReadOptions(use_threads=False)
    if head == b"ARROW1":
        whole = pa.ipc.open_file(file, options=options)
        return whole.schema, (whole.get_batch(index) for index in range(whole.num_record_batches))
    stream = pa.ipc.open_stream(file, options=options)
    return stream.schema, iter(stream)


def _check_count(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise Refused(f"the spine's file has {columns} columns; {MOST_COLUMNS} are the most")


def _check_size(size: int, bounds: Bounds) -> None:
    if size > bounds.decoded:
        raise Refused(
            f"the rows of the spine's file take over {bounds.decoded // MIB} MiB when decoded; the most is the server's spine_limit, and"
            f" {MOST_RATIO} times the size of the file or {GRACE_BYTES // MIB} MiB. Send fewer rows, less compressed, or an Iceberg table"
        )


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the copy: without metadata, dictionaries, run ends and extension types."""
    _check_count(len(schema))
    fields = []
    for field in schema:
        try:
            name = field.name
        except UnicodeDecodeError as error:
            raise Refused("a column's name in the spine's file is not UTF-8") from error
        if not name or "\0" in name or len(name) > LONGEST_NAME:
            raise Refused(f"a column's name in the spine's file is empty, has a NUL or is longer than {LONGEST_NAME} characters")
        fields.append(pa.field(name, _plain_type(field.type, name)))
    return pa.schema(fields)


def _plain_type(kind: pa.DataType, name: str, depth: int = 0) -> pa.DataType:
    is_ = pa.types
    if depth > DEEPEST:
        raise Refused(f"the column {name!r} of the spine's file nests types deeper than {DEEPEST}")
    if isinstance(kind, pa.UuidType) or is_.is_null(kind):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type, name, depth + 1)
    if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, name, depth + 1)
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        value = _plain_type(kind.value_type, name, depth + 1)
        return pa.large_list(value) if is_.is_large_list(kind) else pa.list_(value)
    if is_.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type, name, depth + 1)) for field in kind])
    if is_.is_nested(kind):
        raise Refused(f"the column {name!r} of the spine's file is {_kind(kind)}, which a spine cannot hold; cast it or leave it out")
    return kind


def _validate(batch: pa.RecordBatch, plain: pa.Schema) -> None:
    batch.validate()
    for column, name in zip(batch.columns, plain.names, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise Refused(
                f"the column {name!r} of the spine's file contradicts itself: its lengths, offsets, indices or texts are damaged"
            ) from error


def _flat(batch: pa.RecordBatch, plain: pa.Schema) -> pa.RecordBatch:
    """The batch in the plain types; it has been validated."""
    columns = [_flat_column(column, field) for column, field in zip(batch.columns, plain, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=plain)


def _flat_column(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type == field.type:
        return column
    if isinstance(column.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], field.type)
    if isinstance(column.type, pa.BaseExtensionType):
        return _flat_column(column.storage, field)
    if pa.types.is_run_end_encoded(column.type):
        return _flat_column(pc.run_end_decode(column), field)
    try:
        return column.cast(field.type)
    except pa.ArrowNotImplementedError as error:
        raise Refused(
            f"the column {field.name!r} of the spine's file is {_kind(column.type)}, which a spine cannot hold; cast it or leave it out"
        ) from error


def _kind(kind: pa.DataType) -> str:
    """A type by name, without the names inside it."""
    return str(kind).partition("<")[0]
