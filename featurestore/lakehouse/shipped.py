"""Tables and planned files as values that workers receive: they read and write files, and never see the catalog."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import load_file_io
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import BooleanType, NestedField

from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import granted as guarded
from featurestore.lakehouse import scans, type_mapping
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.lakehouse.table import Table

PART_BYTES = 64 << 20
"""Files are put together into parts of about this size; a larger file is a part of its own."""
FILE_ACCESS = ("s3.", "gcs.", "adls.", "hdfs.", "oss.", "client.", "write.", "py-io-impl", "DEFAULT_")
"""What the names of those properties begin with that say how to reach files. The catalog's own, such as its password, stay here."""


@dataclass(frozen=True, repr=False, eq=False)
class ShippedTable:
    """A table without its snapshots. It has credentials for the table's files if the table is not local."""

    identifier: tuple[str, ...]
    metadata: TableMetadata
    metadata_location: str
    access: dict[str, str]

    def open(self) -> Table:
        """A handle with which files can be read and written, but nothing committed."""
        file_io = load_file_io(self.access, self.metadata.location)
        return Table(IcebergTable(self.identifier, self.metadata, self.metadata_location, file_io, NoopCatalog("worker")))

    def with_column(self, name: str) -> "ShippedTable":
        """The table as it is after its next change, which adds a boolean column, unless it has it."""
        schema = self.metadata.schema()
        if name in schema.column_names:
            return self
        field = NestedField(self.metadata.last_column_id + 1, name, BooleanType(), required=False)
        wider = Schema(*schema.fields, field, schema_id=schema.schema_id, identifier_field_ids=schema.identifier_field_ids)
        schemas = [wider if other.schema_id == schema.schema_id else other for other in self.metadata.schemas]
        return ShippedTable(
            self.identifier,
            self.metadata.model_copy(update={"schemas": schemas, "last_column_id": field.field_id}),
            self.metadata_location,
            self.access,
        )


@dataclass(frozen=True, repr=False)
class ScanPart:
    """Some of the data files of a scan, and how many rows and bytes they have."""

    tasks: tuple[FileScanTask, ...]
    rows: int
    bytes: int


@dataclass(frozen=True, repr=False, eq=False)
class ShippedScan:
    """The columns of a scan, whose parts are read by whoever holds both; it was granted to the holder of `permit`."""

    table: ShippedTable
    permit: Permit
    schema: Schema

    def sql_types(self) -> dict[str, str]:
        """The DuckDB type of each column; empty for one that DuckDB cannot read by field id."""
        return {field.name: type_mapping.sql_type_of_iceberg(field.field_type) or "" for field in self.schema.fields}

    def folders(self) -> list[str]:
        """The local folders that a session must be able to read."""
        return data_folders(self._granted())

    def read(self, part: ScanPart) -> IcebergFiles | pa.RecordBatchReader:
        """The rows of a part, as `scans.scan_snapshot` returns them. Raises: NotReady if files cannot be reached."""
        return scans.relation(self._granted(), self.schema, list(part.tasks))

    def _granted(self) -> Granted:
        return guarded.reissue(self.table.open(), self.permit)


def ship_table(table: Table) -> ShippedTable:
    """A table for workers."""
    kept = {name: value for name, value in table.properties.items() if not name.startswith("featurestore.")}
    none: dict[str, object] = {"snapshots": [], "snapshot_log": [], "metadata_log": [], "refs": {}, "current_snapshot_id": None}
    metadata = table.iceberg.metadata.model_copy(update={**none, "properties": kept})
    access = {name: value for name, value in table.iceberg.io.properties.items() if name.startswith(FILE_ACCESS)}
    return ShippedTable(tuple(table.iceberg.name()), metadata, table.metadata_location, access)


def scan_parts(tasks: Sequence[FileScanTask]) -> list[ScanPart]:
    """Planned files in parts of about PART_BYTES."""
    parts: list[list[FileScanTask]] = []
    size = PART_BYTES
    for task in tasks:
        if size >= PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(task)
        size += task.file.file_size_in_bytes
    return [
        ScanPart(tuple(part), sum(task.file.record_count for task in part), sum(task.file.file_size_in_bytes for task in part))
        for part in parts
    ]
