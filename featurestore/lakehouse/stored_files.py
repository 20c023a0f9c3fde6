"""The Parquet files of a snapshot as Arrow reads them, on this machine or elsewhere: for who picks columns and row groups by itself."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg import types as ice
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import FileFormat
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import NestedField

from featurestore.compiler.relations import Column, Extent, IcebergFiles
from featurestore.errors import NotYet
from featurestore.lakehouse import scans, types
from featurestore.lakehouse.scan_plan import TimeRange, plan, projection


@dataclass(frozen=True)
class StoredFiles:
    """Parquet files of a snapshot, without deleted rows, by their paths in `filesystem`; None is that of this machine.

    `columns` are the snapshot's: whether a file has them so is for the reader to see. Rows outside the time range that was asked for may
    be in them; `extents` has one for each file. `relation` gives the rows of some of the files for the engine.
    """

    paths: tuple[str, ...]
    extents: tuple[Extent, ...]
    columns: tuple[Column, ...]
    relation: Callable[[Collection[str]], IcebergFiles | pa.RecordBatchReader]
    filesystem: pafs.FileSystem | None = None


def stored_files(table: Table, snapshot_id: int, columns: Sequence[str], time: TimeRange) -> StoredFiles | None:
    """The files of a snapshot, less those wholly outside of the time; None where only `scans.scan` reads them right.

    Raises: as `scans.scan`.
    """
    schema = projection(table, snapshot_id, columns)
    kinds = [(field, types.sql_type(field.field_type)) for field in schema.fields]
    tasks = plan(table, snapshot_id, time)
    plain = all(not task.delete_files and task.file.file_format == FileFormat.PARQUET for task in tasks)
    (by,) = projection(table, snapshot_id, [time.column]).fields
    extents = tuple(extent for task in tasks if (extent := _extent(task, by)) is not None)
    if not plain or len(extents) < len(tasks) or any(kind is None or field.initial_default is not None for field, kind in kinds):
        return None
    try:
        places, filesystem = scans.places(table, [task.file for task in tasks])
    except NotYet:
        return None
    by_path = {path: task for (_, _, path), task in zip(places, tasks, strict=True)}
    return StoredFiles(
        tuple(by_path),
        extents,
        tuple(Column(field.field_id, field.name, kind or "") for field, kind in kinds),
        lambda paths: scans.relation(table, schema, [by_path[path] for path in paths]),
        None if isinstance(filesystem, pafs.LocalFileSystem) else filesystem,
    )


def _extent(task: FileScanTask, field: NestedField) -> Extent | None:
    """What a file holds; None when Iceberg's metadata do not tell."""
    ends = [(bounds or {}).get(field.field_id) for bounds in (task.file.lower_bounds, task.file.upper_bounds)]
    if not isinstance(field.field_type, ice.TimestamptzType) or None in ends:
        return None
    lower, upper = (int(from_bytes(field.field_type, end)) for end in ends if end is not None)
    return Extent(task.file.record_count, lower, upper)
