"""A snapshot as rows that can be read again and again without opening a file by name: for queries that may open none."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Table

from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import scans, types
from featurestore.lakehouse.scan_plan import projection

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


@dataclass(frozen=True)
class Stream:
    """Rows of a snapshot that are read file by file, anew at each call of `read`."""

    schema: pa.Schema
    table: Table
    snapshot_id: int
    schema_id: int | None

    def read(self) -> Iterable[pa.RecordBatch]:
        """The rows."""
        rows: Iterable[pa.RecordBatch] = scans.read(self.table, self.snapshot_id, schema_id=self.schema_id)
        return rows


def open_snapshot(table: Table, snapshot_id: int | None, schema_id: int | None = None) -> "IcebergFiles | Dataset | Stream | pa.Table":
    """All rows of a snapshot: a dataset, of which a reader takes the columns and row groups that it needs, where the files have the
    snapshot's columns under their names and in their types; else a stream of all columns. No rows: an empty relation.

    Raises: as `scans.scan`.
    """
    found = scans.scan(table, snapshot_id, schema_id=schema_id)
    if isinstance(found, IcebergFiles) and not found.paths:
        return found
    schema = projection(table, snapshot_id, None, schema_id)
    arrow = types.arrow_schema(schema)
    if snapshot_id is None:
        return arrow.empty_table()
    if isinstance(found, IcebergFiles) and (same := _common_schema(found, arrow)) is not None:
        from pyarrow import dataset as ds  # noqa: PLC0415 - it imports pandas, where that is installed

        return ds.dataset(list(found.paths), schema=same, format="parquet", partitioning=None)
    return Stream(arrow, table, snapshot_id, schema_id)


def _common_schema(files: IcebergFiles, wanted: pa.Schema) -> pa.Schema | None:
    """The columns as every file that has them holds them; None where a file has one by another id, name or type."""
    names = {column.id: column.name for column in files.columns}
    ids = {column.name: column.id for column in files.columns}
    kinds: dict[str, pa.DataType] = {}
    for path in files.paths:
        for field in pq.read_schema(path):
            id = int((field.metadata or {}).get(types.FIELD_ID, b"-1"))
            if names.get(id, field.name) != field.name or ids.get(field.name, id) != id:
                return None
            if field.name in ids and kinds.setdefault(field.name, field.type) != field.type:
                return None
    fields = [pa.field(field.name, kinds.get(field.name, field.type)) for field in wanted]
    return pa.schema(fields) if all(_is(own.type, field.type) for own, field in zip(fields, wanted, strict=True)) else None


def _is(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a file are those of the snapshot's column, long texts and bytes included."""
    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return bool(kind == wanted or kind == large.get(wanted))
