"""Validate and copy the rows of an uploaded file; runs in a separate process, because the file is not trusted."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS = 65_536
MAX_COLUMNS = 10_000
MAX_DEPTH = 16
"""Most levels of nested types, such as lists of structs of lists."""
MAX_NAME_LENGTH = 1_000
ROW_BYTES = 8
"""Bytes that each row counts for in addition to its cells; a cell counts for at least one. A file may claim any number of empty rows."""
GRACE_BYTES = 256 << 20
MAX_RATIO = 1_000
"""Largest ratio of decoded rows to their file, unless they fit in GRACE_BYTES. Real spines stay below a hundred."""
MIB = 1 << 20


class Refused(Exception):
    """The file is refused; the message, which follows the name of the file, may be shown to its sender."""


@dataclass(frozen=True)
class Bounds:
    """Limits for one file: bytes of its decoded rows, bytes of memory, and seconds to read it."""

    decoded: int
    memory: int
    seconds: float

    def of_file(self, descriptor: int) -> "Bounds":
        """The bounds for one open file: a smaller file gets smaller bounds."""
        decoded = min(self.decoded, max(GRACE_BYTES, MAX_RATIO * os.fstat(descriptor).st_size))
        return replace(self, decoded=decoded, memory=min(self.memory, 2 * decoded + GRACE_BYTES))


def copy(source: int, sink: int, bounds: Bounds) -> int:
    """Copy the rows of an open file to another, as an Arrow IPC stream of plain types. Returns their number.

    Each batch is validated in full before it is used. Raises: Refused, and whatever Arrow raises for a malformed file.
    """
    with open(source, "rb", buffering=0) as file, open(sink, "wb", buffering=0) as out:
        schema, batches = _open(file)
        plain = _plain_schema(schema)
        rows = size = 0
        with pa.ipc.new_stream(pa.PythonFile(out, "w"), plain, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for batch in batches:
                size += batch.num_rows * (ROW_BYTES + batch.num_columns)
                _check_size(size, bounds)
                _validate(batch, plain)
                converted = _to_plain(batch, plain)
                size += converted.nbytes
                _check_size(size, bounds)
                writer.write_batch(converted)
                rows += converted.num_rows
    return rows


def _open(file: IO[bytes]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and batches of a Parquet file, Arrow IPC file or Arrow IPC stream, recognized by its first bytes."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PAR1"):
        # Without a buffer, a row group would be read as a whole, however large it is.
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
    if columns > MAX_COLUMNS:
        raise Refused(f"it has {columns} columns; the limit is {MAX_COLUMNS}")


def _check_size(size: int, bounds: Bounds) -> None:
    if size > bounds.decoded:
        raise Refused(
            f"its rows take over {bounds.decoded // MIB} MiB when decoded; the most is the server's spine_limit, and"
            f" {MAX_RATIO} times the size of the file or {GRACE_BYTES // MIB} MiB. Send fewer rows, less compressed, or an Iceberg table"
        )


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the copy: without metadata, dictionaries, run ends and extension types."""
    _check_count(len(schema))
    fields = []
    for field in schema:
        try:
            name = field.name
        except UnicodeDecodeError as error:
            raise Refused("a column's name is not UTF-8") from error
        if not name or "\0" in name or len(name) > MAX_NAME_LENGTH:
            raise Refused(f"a column's name is empty, has a NUL or is longer than {MAX_NAME_LENGTH} characters")
        fields.append(pa.field(name, _plain_type(field.type, name)))
    return pa.schema(fields)


def _plain_type(arrow_type: pa.DataType, name: str, depth: int = 0) -> pa.DataType:
    is_ = pa.types
    if depth > MAX_DEPTH:
        raise Refused(f"the column {name!r} nests types deeper than {MAX_DEPTH}")
    if isinstance(arrow_type, pa.UuidType) or is_.is_null(arrow_type):
        return pa.string()
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _plain_type(arrow_type.storage_type, name, depth + 1)
    if is_.is_dictionary(arrow_type) or is_.is_run_end_encoded(arrow_type):
        return _plain_type(arrow_type.value_type, name, depth + 1)
    if is_.is_list(arrow_type) or is_.is_large_list(arrow_type) or is_.is_fixed_size_list(arrow_type):
        value = _plain_type(arrow_type.value_type, name, depth + 1)
        return pa.large_list(value) if is_.is_large_list(arrow_type) else pa.list_(value)
    if is_.is_struct(arrow_type):
        return pa.struct([(field.name, _plain_type(field.type, name, depth + 1)) for field in arrow_type])
    if is_.is_nested(arrow_type):
        raise Refused(f"the column {name!r} is {_type_name(arrow_type)}, which cannot be stored; cast it or leave it out")
    return arrow_type


def _validate(batch: pa.RecordBatch, plain: pa.Schema) -> None:
    batch.validate()
    for column, name in zip(batch.columns, plain.names, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise Refused(f"the column {name!r} contradicts itself: its lengths, offsets, indices or texts are damaged") from error


def _to_plain(batch: pa.RecordBatch, plain: pa.Schema) -> pa.RecordBatch:
    """Convert a validated batch to the plain types."""
    columns = [_column_to_plain(column, field) for column, field in zip(batch.columns, plain, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=plain)


def _column_to_plain(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type == field.type:
        return column
    if isinstance(column.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], field.type)
    if isinstance(column.type, pa.BaseExtensionType):
        return _column_to_plain(column.storage, field)
    if pa.types.is_run_end_encoded(column.type):
        return _column_to_plain(pc.run_end_decode(column), field)
    try:
        return column.cast(field.type)
    except pa.ArrowNotImplementedError as error:
        raise Refused(f"the column {field.name!r} is {_type_name(column.type)}, which cannot be stored; cast it or leave it out") from error


def _type_name(arrow_type: pa.DataType) -> str:
    """The name of a type without its parameters, which may contain names of fields."""
    return str(arrow_type).partition("<")[0]
