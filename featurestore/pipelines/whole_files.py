"""Parquet files read as they are, past the engine, where they are plainly what a snapshot's columns say."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.compiler.relations import IcebergFiles


def whole(files: IcebergFiles, columns: Sequence[str], kinds: pa.Schema, room: int) -> list[pa.Table] | None:
    """All rows, a table for each file, with these columns in the types of `kinds`.

    None where a file has a column by another id, name or type: reading by field id is then for the engine. None as well when
    the rows take more than `room` bytes.
    """
    ids = {column.name: column.id for column in files.columns}
    wanted = pa.schema([kinds.field(name) for name in columns])
    found: list[pa.Table] = []
    for path in files.paths:
        rows = _read(path, wanted, ids)
        room -= 0 if rows is None else rows.nbytes
        if rows is None or room < 0:
            return None
        found.append(rows)
    return found


def _read(path: str, wanted: pa.Schema, ids: Mapping[str, int]) -> pa.Table | None:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            if not all(_same(file.schema_arrow, field, ids[field.name]) for field in wanted):
                return None
            rows = file.read(columns=wanted.names).select(wanted.names)
    except (OSError, pa.ArrowException):
        # What is wrong with a file is for the engine to say, which reads it next.
        return None
    return pa.Table.from_arrays(rows.columns, schema=wanted)


def _same(schema: pa.Schema, wanted: pa.Field, id: int) -> bool:
    """Whether a file has this column, under its own name, with its field id and in its type."""
    index = schema.get_field_index(wanted.name)
    if index < 0 or schema.field(index).type != wanted.type:
        return False
    return (schema.field(index).metadata or {}).get(b"PARQUET:field_id") == str(id).encode()
