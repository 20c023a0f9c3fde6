"""The Parquet files of a snapshot, local or remote, for readers that select columns and row groups with Arrow."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg import types as ice
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import FileFormat
from pyiceberg.table import FileScanTask
from pyiceberg.types import NestedField

from featurestore.compiler.relations import Column, Extent, IcebergFiles
from featurestore.errors import NotYet
from featurestore.lakehouse import scans, type_mapping
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange, plan_scan, projected_schema

if TYPE_CHECKING:
    from featurestore.lakehouse.object_parquet import RemoteFiles


@dataclass(frozen=True)
class StoredFiles:
    """Parquet files of a snapshot that have no deleted rows; `remote` reads them by path where they are not on this machine.

    `columns` are the snapshot's; the reader must check how a file stores them. Files may have rows outside of the requested time range;
    `extents` has one element per file. `relation` returns the rows of some of the files for DuckDB.
    """

    paths: tuple[str, ...]
    extents: tuple[Extent, ...]
    columns: tuple[Column, ...]
    relation: Callable[[Collection[str]], IcebergFiles | pa.RecordBatchReader]
    remote: "RemoteFiles | None" = None


def stored_files(granted: Granted, snapshot_id: int, columns: Sequence[str], time: TimeRange) -> StoredFiles | None:
    """The files of a snapshot, without those entirely outside of the time range; None if only `scans.scan_snapshot` can read them.

    Raises: as `scans.scan_snapshot`.
    """
    table = granted.table
    schema = projected_schema(table, snapshot_id, columns)
    sql_types = [(field, type_mapping.sql_type_of_iceberg(field.field_type)) for field in schema.fields]
    tasks = plan_scan(granted, snapshot_id, time)
    plain = all(not task.delete_files and task.file.file_format == FileFormat.PARQUET for task in tasks)
    (time_field,) = projected_schema(table, snapshot_id, [time.column]).fields
    extents = tuple(extent for task in tasks if (extent := _extent(task, time_field)) is not None)
    if (
        not plain
        or len(extents) < len(tasks)
        or any(sql_type is None or field.initial_default is not None for field, sql_type in sql_types)
    ):
        return None
    try:
        locations, is_local = scans.split_locations(granted, [task.file for task in tasks])
    except NotYet:
        return None
    by_path = {path: task for (_, _, path), task in zip(locations, tasks, strict=True)}
    return StoredFiles(
        tuple(by_path),
        extents,
        tuple(Column(field.field_id, field.name, sql_type or "") for field, sql_type in sql_types),
        lambda paths: scans.relation(granted, schema, [by_path[path] for path in paths]),
        None if is_local else _remote_files(granted, by_path),
    )


def _remote_files(granted: Granted, tasks: Mapping[str, FileScanTask]) -> "RemoteFiles":
    # Imported here: most commands run in a folder.
    from featurestore.lakehouse.object_parquet import RemoteFiles  # noqa: PLC0415

    return RemoteFiles(granted.table.iceberg.io, {path: task.file for path, task in tasks.items()})


def _extent(task: FileScanTask, field: NestedField) -> Extent | None:
    """The row count and time bounds of a file; None if Iceberg's metadata lack the bounds."""
    ends = [(bounds or {}).get(field.field_id) for bounds in (task.file.lower_bounds, task.file.upper_bounds)]
    if not isinstance(field.field_type, ice.TimestamptzType) or None in ends:
        return None
    lower, upper = (int(from_bytes(field.field_type, end)) for end in ends if end is not None)
    return Extent(task.file.record_count, lower, upper)
