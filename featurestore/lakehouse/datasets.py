"""Open a snapshot as a relation that can be read repeatedly, for queries that must not open files by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import scans, type_mapping
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import projected_schema

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset


@dataclass(frozen=True)
class SnapshotStream:
    """The rows of a snapshot, read file by file; each call of `read` starts again."""

    schema: pa.Schema
    granted: Granted
    snapshot_id: int
    schema_id: int | None

    def read(self) -> Iterable[pa.RecordBatch]:
        """Stream the rows."""
        rows: Iterable[pa.RecordBatch] = scans.read_snapshot(self.granted, self.snapshot_id, schema_id=self.schema_id)
        return rows


def open_snapshot(
    granted: Granted, snapshot_id: int | None, schema_id: int | None = None
) -> "IcebergFiles | Dataset | SnapshotStream | pa.Table":
    """All rows of a snapshot: a dataset, which readers can prune by column and row group, if the files have the snapshot's columns
    under the same names and types; else a stream of all columns. No rows: an empty relation.

    Raises: as `scans.scan_snapshot`.
    """
    relation = scans.scan_snapshot(granted, snapshot_id, schema_id=schema_id)
    if isinstance(relation, IcebergFiles) and not relation.paths:
        return relation
    schema = projected_schema(granted.table, snapshot_id, None, schema_id)
    arrow = type_mapping.arrow_schema(schema)
    if snapshot_id is None:
        return arrow.empty_table()
    if isinstance(relation, IcebergFiles) and (stored := _common_schema(relation, arrow)) is not None:
        from pyarrow import dataset as ds  # noqa: PLC0415 - it imports pandas if that is installed

        return ds.dataset(list(relation.paths), schema=stored, format="parquet", partitioning=None)
    return SnapshotStream(arrow, granted, snapshot_id, schema_id)


def _common_schema(files: IcebergFiles, expected: pa.Schema) -> pa.Schema | None:
    """The schema that all files share; None if a file has a column with another id, name or type."""
    names = {column.id: column.name for column in files.columns}
    ids = {column.name: column.id for column in files.columns}
    stored_types: dict[str, pa.DataType] = {}
    for path in files.paths:
        for field in pq.read_schema(path):
            id = int((field.metadata or {}).get(type_mapping.FIELD_ID, b"-1"))
            if names.get(id, field.name) != field.name or ids.get(field.name, id) != id:
                return None
            if field.name in ids and stored_types.setdefault(field.name, field.type) != field.type:
                return None
    fields = [pa.field(field.name, stored_types.get(field.name, field.type)) for field in expected]
    return pa.schema(fields) if all(_same_values(stored.type, field.type) for stored, field in zip(fields, expected, strict=True)) else None


def _same_values(stored: pa.DataType, expected: pa.DataType) -> bool:
    """Whether the type of a file's column is that of the snapshot, or its large variant."""
    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return bool(stored == expected or stored == large.get(expected))
