"""Read a snapshot, or the changes between two: as Parquet files for DuckDB to read by field id, or as a stream of Arrow batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pyiceberg import types as ice
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, EqualTo
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.snapshots import Operation, Snapshot

from featurestore.compiler.relations import Column, IcebergFiles
from featurestore.errors import NotYet
from featurestore.lakehouse import type_mapping
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.delete_files import adds_deletes
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.local_io import parse_location, pyarrow_io
from featurestore.lakehouse.scan_plan import TimeRange, collect_tasks, plan_scan, projected_schema
from featurestore.lakehouse.small_files import SMALL_BYTES, SMALL_FILES, SMALL_ROWS
from featurestore.lakehouse.table import Table


@dataclass(frozen=True)
class Changes:
    """The rows that differ between two snapshots: `relation` has the added rows, `removed` the removed rows (None: no rows removed).

    If rows were changed or removed, both also have unchanged rows of rewritten files, equally often in each. Both None: the earlier
    snapshot has expired or is not the table's, so the difference is unknown.
    """

    relation: IcebergFiles | pa.RecordBatchReader | None
    removed: IcebergFiles | pa.RecordBatchReader | None = None

    @property
    def appended(self) -> bool:
        """Whether rows were only added."""
        return self.relation is not None and self.removed is None


def scan_snapshot(
    granted: Granted,
    snapshot_id: int | None,
    *,
    columns: Sequence[str] | None = None,
    time: TimeRange | None = None,
    schema_id: int | None = None,
) -> IcebergFiles | pa.RecordBatchReader:
    """All rows of a snapshot (None: an empty relation) with these columns (None: all, in schema order).

    `schema_id` is the schema that resolves names to columns and types; None: the snapshot's.

    `time` only prunes files: rows outside of it may be returned. Returns IcebergFiles where DuckDB can read the files by field id, and
    a reader otherwise (row deletes, remote files, files without field ids, structs, names that differ only in case).
    Raises: NotFound for a snapshot or column; NotYet for equality deletes; NotReady if files cannot be reached.
    """
    schema = projected_schema(granted.table, snapshot_id, columns, schema_id)
    tasks = [] if snapshot_id is None else plan_scan(granted, snapshot_id, time, schema_id)
    return relation(granted, schema, tasks)


def names_of(relation: IcebergFiles | pa.RecordBatchReader) -> list[str]:
    """The names of the columns of a scan."""
    return [column.name for column in relation.columns] if isinstance(relation, IcebergFiles) else list(relation.schema.names)


def snapshot_files(granted: Granted, snapshot_id: int) -> list[FileScanTask]:
    """All data files of a snapshot, with the delete files of each. Raises: as `scan_snapshot`."""
    return plan_scan(granted, snapshot_id, None)


def scan_files(
    granted: Granted, snapshot_id: int, tasks: Sequence[FileScanTask], *, columns: Sequence[str] | None = None
) -> IcebergFiles | pa.RecordBatchReader:
    """As `scan_snapshot`, but only these files of the snapshot."""
    return relation(granted, projected_schema(granted.table, snapshot_id, columns), list(tasks))


def ordered_file_paths(granted: Granted, snapshot_id: int, ordered_by: str) -> tuple[list[str], pafs.FileSystem]:
    """The data files of a snapshot, and the filesystem that opens them with the catalog's settings.

    Local files are paths, others are URIs such as s3://bucket/key. They are ordered by the minimum that each file has of the integer
    column `ordered_by`. Raises: as `scan_snapshot`; NotYet if they are on more than one filesystem.
    """
    field = projected_schema(granted.table, snapshot_id, [ordered_by]).fields[0]
    data = [task.file for task in plan_scan(granted, snapshot_id, None)]
    if len(data) > 1:
        data.sort(key=lambda file: int(from_bytes(ice.LongType(), file.lower_bounds[field.field_id])))
    locations, _ = split_locations(granted, data)
    properties = granted.table.iceberg.io.properties
    scheme, host, _ = locations[0] if locations else parse_location(granted.table.iceberg.location(), properties)
    filesystem = pyarrow_io().PyArrowFileIO(properties).fs_by_scheme(scheme, host)
    return [path if scheme == "file" else file.file_path for file, (scheme, _, path) in zip(data, locations, strict=True)], filesystem


def split_locations(granted: Granted, data: Sequence[DataFile]) -> tuple[list[tuple[str, str, str]], bool]:
    """Scheme, host and path of each file, and whether they are on this machine. Raises: NotYet if they are on several filesystems."""
    table = granted.table
    properties = table.iceberg.io.properties
    locations = [parse_location(file.file_path, properties) for file in data]
    hosts = {(scheme, netloc) for scheme, netloc, _ in locations} or {parse_location(table.iceberg.location(), properties)[:2]}
    if len(hosts) > 1:
        raise NotYet(f"the files of {table.name} are on more than one filesystem; they can be read from only one")
    return locations, {scheme for scheme, _ in hosts} == {"file"}


def read_snapshot(
    granted: Granted, snapshot_id: int | None, *, columns: Sequence[str] | None = None, schema_id: int | None = None
) -> pa.RecordBatchReader:
    """As `scan_snapshot`, but always a stream of Arrow batches, with the types of `tables.arrow_schema`, in file order."""
    schema = projected_schema(granted.table, snapshot_id, columns, schema_id)
    tasks = [] if snapshot_id is None else plan_scan(granted, snapshot_id, None, schema_id)
    return _stream(granted.table, schema, tasks, keep=granted.own)


def read_file(granted: Granted, schema_id: int, task: FileScanTask, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
    """The rows of one data file, with these columns (None: all) of one of the table's schemas. Raises: NotReady if it cannot be read."""
    return _stream(granted.table, projected_schema(granted.table, None, columns, schema_id), [task])


def read_equal(granted: Granted, column: str, value: str, *, columns: Sequence[str] = ("*",), limit: int | None = None) -> pa.Table:
    """The rows of the current snapshot whose text column has this value, at most `limit`, with these columns; by default all.

    Files whose bounds exclude the value are not read. Raises: NotReady if files cannot be reached.
    """
    with translating_errors(f"reading {granted.name}"):
        scan = granted.table.iceberg.scan(row_filter=EqualTo(column, value), selected_fields=tuple(columns), limit=limit)  # type: ignore[call-arg, arg-type]
        return scan.to_arrow()


def read_changes(
    granted: Granted, after: int | None, until: int, *, columns: Sequence[str] | None = None, schema_id: int | None = None
) -> Changes:
    """The changes after the snapshot `after`, up to and including `until`; `after` None: all rows of `until` count as added.

    Both snapshots are read with one schema, as by `scan_snapshot`: the caller checks whether the columns meant the same before.
    A snapshot with the operation `replace`, which only rewrites files, counts as no change. Raises: as `scan_snapshot`.
    """
    if after is None:
        return Changes(scan_snapshot(granted, until, columns=columns, schema_id=schema_id))
    table = granted.table
    schema = projected_schema(table, until, columns, schema_id)
    between = _snapshots_between(table, after, until)
    if between is not None and all(_keeps_rows(table, snapshot) for snapshot in between):
        if not between:
            return Changes(relation(granted, schema, []))
        append_scan = table.iceberg.incremental_append_scan(from_snapshot_id_exclusive=after, to_snapshot_id_inclusive=until)
        return Changes(relation(granted, schema, collect_tasks(granted, append_scan.plan_files)))
    if table.iceberg.snapshot_by_id(after) is None:
        return Changes(None)
    before_files = {_identity(task): task for task in plan_scan(granted, after, None)}
    after_files = {_identity(task): task for task in plan_scan(granted, until, None)}
    added, removed = (
        [files[task] for task in files if task not in other] for files, other in ((after_files, before_files), (before_files, after_files))
    )
    return Changes(relation(granted, schema, added), relation(granted, schema, removed) if removed else None)


def _identity(task: FileScanTask) -> tuple[str, frozenset[str]]:
    """What determines a file's rows: its path and its delete files."""
    return task.file.file_path, frozenset(file.file_path for file in task.delete_files)


def _snapshots_between(table: Table, after: int, until: int) -> list[Snapshot] | None:
    snapshots: list[Snapshot] = []
    current: int | None = until
    while current != after:
        snapshot = table.iceberg.snapshot_by_id(current) if current is not None else None
        if snapshot is None:
            return None
        snapshots.append(snapshot)
        current = snapshot.parent_snapshot_id
    return snapshots


def _keeps_rows(table: Table, snapshot: Snapshot) -> bool:
    """Whether a snapshot removed no rows: what some writers call an append adds delete files."""
    operation = None if snapshot.summary is None else snapshot.summary.operation
    return operation == Operation.REPLACE or (operation == Operation.APPEND and not adds_deletes(table, snapshot))


def written_rows(granted: Granted, files: Sequence[DataFile]) -> IcebergFiles | pa.RecordBatchReader:
    """The rows of data files that were just added to the table, without a look at its manifests."""
    return relation(granted, granted.table.iceberg.schema(), [FileScanTask(file) for file in files])


def relation(granted: Granted, schema: Schema, tasks: list[FileScanTask]) -> IcebergFiles | pa.RecordBatchReader:
    """The rows of these files; see `scan_snapshot`."""
    table = granted.table
    columns = [Column(field.field_id, field.name, type_mapping.sql_type_of_iceberg(field.field_type) or "") for field in schema.fields]
    # DuckDB renames columns with an empty name, and refuses names that differ only in case.
    readable = all(column.sql_type and column.name for column in columns) and len({column.name.lower() for column in columns}) == len(
        columns
    )
    paths = [_local_path(table, task) for task in tasks]
    local = tuple(path for path in paths if path is not None)
    if not readable or len(local) < len(paths) or any(field.initial_default is not None for field in schema.fields):
        return _stream(table, schema, tasks)
    if table.iceberg.metadata.name_mapping() is not None and not all(map(_has_field_ids, local)):
        return _stream(table, schema, tasks)
    rows, size = sum(task.file.record_count for task in tasks), sum(task.file.file_size_in_bytes for task in tasks)
    return IcebergFiles(local, tuple(columns), rows=rows, bytes=size)


def _local_path(table: Table, task: FileScanTask) -> str | None:
    """The path where DuckDB finds the file; None if it is remote, not Parquet, or has deleted rows."""
    if task.delete_files or task.file.file_format != FileFormat.PARQUET:
        return None
    # The same rule as pyiceberg's: the path of a URI is not decoded.
    scheme, _, path = parse_location(task.file.file_path, table.iceberg.io.properties)
    return path if scheme == "file" else None


def _has_field_ids(path: str) -> bool:
    # A name mapping means that there may be files without field ids, whose columns DuckDB silently reads as NULL.
    return all(type_mapping.FIELD_ID in (field.metadata or {}) for field in pq.read_schema(path))


def _stream(table: Table, schema: Schema, tasks: list[FileScanTask], *, keep: bool = False) -> pa.RecordBatchReader:
    arrow = type_mapping.arrow_schema(schema)
    return pa.RecordBatchReader.from_batches(arrow, _batches(table, schema, tasks, arrow, keep))


def _batches(table: Table, schema: Schema, tasks: list[FileScanTask], arrow: pa.Schema, keep: bool) -> Iterator[pa.RecordBatch]:
    columns = repr(schema.fields) if keep else ""
    # One local file at a time: pyiceberg reads ahead without limit when it gets all of them.
    for remote, several in groupby(tasks, lambda task: _is_remote(table, schema, task)):
        if remote:
            yield from _remote_batches(table, schema, list(several), arrow)
            continue
        for task in several:
            path = _local_path(table, task) if keep else None
            if path is not None and task.file.file_size_in_bytes <= SMALL_BYTES and task.file.record_count <= SMALL_ROWS:
                yield from SMALL_FILES.read(path, columns, partial(_read_file, table, schema, task, arrow))
            else:
                yield from _file_batches(table, schema, task, arrow)


def _is_remote(table: Table, schema: Schema, task: FileScanTask) -> bool:
    """Whether a file is elsewhere, and Arrow reads its columns as they are."""
    plain = not task.delete_files and task.file.file_format == FileFormat.PARQUET and all(f.field_type.is_primitive for f in schema.fields)
    return plain and _local_path(table, task) is None


def _remote_batches(table: Table, schema: Schema, tasks: Sequence[FileScanTask], arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    # Imported here: most commands run in a folder.
    from featurestore.lakehouse.object_parquet import read_ahead  # noqa: PLC0415

    by_path = {task.file.file_path: task for task in tasks}
    with translating_errors(f"reading {table.name}"):
        for file, batches in read_ahead(
            table.iceberg.io, [task.file for task in tasks], lambda footer: _names_in(footer.schema.to_arrow_schema(), schema)
        ):
            if batches is None:
                yield from _mapped_batches(table, schema, by_path[file.file_path], arrow)
                continue
            names, rows = batches
            for batch in rows:
                yield _selected(batch, names, arrow, table.name)


def _read_file(table: Table, schema: Schema, task: FileScanTask, arrow: pa.Schema) -> list[pa.RecordBatch]:
    return list(_file_batches(table, schema, task, arrow))


def _file_batches(table: Table, schema: Schema, task: FileScanTask, arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    plain = _open_plain_file(table, schema, task)
    if plain is None:
        yield from _mapped_batches(table, schema, task, arrow)
        return
    file, names = plain
    with file:
        for batch in file.iter_batches(columns=names):
            yield _selected(batch, names, arrow, table.name)


def _mapped_batches(table: Table, schema: Schema, task: FileScanTask, arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a file that pyiceberg maps to the columns, without its deleted rows."""
    for batch in pyarrow_io().ArrowScan(table.iceberg.metadata, table.iceberg.io, schema, AlwaysTrue()).to_record_batches([task]):
        yield cast_batch(batch, arrow, table.name)


def _selected(batch: pa.RecordBatch, names: Sequence[str], arrow: pa.Schema, table: str) -> pa.RecordBatch:
    columns = [batch.column(column) for column in names]
    return cast_batch(pa.RecordBatch.from_arrays(columns, arrow.names), arrow, table)


def _open_plain_file(table: Table, schema: Schema, task: FileScanTask) -> tuple[pq.ParquetFile, list[str]] | None:
    """Open a local file that has the schema's columns, with their names in the file; None if pyiceberg must map the columns.

    Every command reads small tables, such as the registry, this way: pyiceberg's reader takes half a second to import.
    """
    path = _local_path(table, task)
    if path is None or not all(field.field_type.is_primitive for field in schema.fields):
        return None
    file = pq.ParquetFile(path)
    names = _names_in(file.schema_arrow, schema)
    if names is None:
        file.close()
        return None
    return file, names


def _names_in(stored: pa.Schema, schema: Schema) -> list[str] | None:
    """The names that columns have in a file, by their field ids; None if it lacks one, or has columns without ids or of one name."""
    names = {field.metadata[type_mapping.FIELD_ID]: field.name for field in stored if type_mapping.FIELD_ID in (field.metadata or {})}
    field_ids = [str(field.field_id).encode() for field in schema.fields]
    if len(names) != len(stored) or len(set(names.values())) != len(names) or not set(field_ids) <= names.keys():
        return None
    return [names[field_id] for field_id in field_ids]
