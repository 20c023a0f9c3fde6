"""What a snapshot holds, planned from Iceberg's metadata: Parquet files to read by field id, or else a stream of Arrow batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pyiceberg import types as ice
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Snapshot

from featurestore.compiler.relations import Column, IcebergFiles
from featurestore.errors import NotYet
from featurestore.lakehouse import types
from featurestore.lakehouse.casting import fit
from featurestore.lakehouse.deleted import adds_deletes
from featurestore.lakehouse.local_io import parse_location, pyarrow_io
from featurestore.lakehouse.scan_plan import TimeRange, plan, planned, projection


@dataclass(frozen=True)
class Changes:
    """What tells a later snapshot from an earlier one: `relation` has every row that came, `removed` every row that went, None for none.

    Where rows were also changed or removed, both hold rows that stayed as well: those are in both, equally often. Both None: the
    earlier snapshot has expired or is not the table's, so nothing can tell.
    """

    relation: IcebergFiles | pa.RecordBatchReader | None
    removed: IcebergFiles | pa.RecordBatchReader | None = None

    @property
    def appended(self) -> bool:
        """Whether rows were added and nothing else."""
        return self.relation is not None and self.removed is None


def scan(
    table: Table,
    snapshot_id: int | None,
    *,
    columns: Sequence[str] | None = None,
    time: TimeRange | None = None,
    schema_id: int | None = None,
) -> IcebergFiles | pa.RecordBatchReader:
    """All rows of a snapshot with these columns (None: all, in the order of the schema); None: an empty relation.

    `schema_id` names the schema that says which column a name means, and of what type it is; None: the snapshot's own.

    `time` only leaves out files: rows outside of it may come. Files come as IcebergFiles where DuckDB reads them right by field id,
    and as a reader otherwise (row deletes, files not on this machine or without ids, structs, names that differ in case only).
    Raises: NotFound for a snapshot or column; NotYet for equality deletes; NotReady where files cannot be reached.
    """
    schema = projection(table, snapshot_id, columns, schema_id)
    tasks = [] if snapshot_id is None else plan(table, snapshot_id, time, schema_id)
    return relation(table, schema, tasks)


def files(table: Table, snapshot_id: int) -> list[FileScanTask]:
    """Every data file of a snapshot, with the deletes that hold for it. Raises: as `scan`."""
    return plan(table, snapshot_id, None)


def scan_files(
    table: Table, snapshot_id: int, chosen: Sequence[FileScanTask], *, columns: Sequence[str] | None = None
) -> IcebergFiles | pa.RecordBatchReader:
    """As `scan`, of some of the snapshot's files alone."""
    return relation(table, projection(table, snapshot_id, columns), list(chosen))


def located(table: Table, snapshot_id: int, ordered_by: str) -> tuple[list[str], pafs.FileSystem]:
    """The data files of a snapshot, and what opens them, by their addresses without the scheme, with the catalog's own settings.

    A file on this machine is a path, others are addresses such as s3://bucket/key. They come in the order of the least value that
    each has of a column of whole numbers. Raises: as `scan`; NotYet where they do not lie in one place.
    """
    field = projection(table, snapshot_id, [ordered_by]).fields[0]
    data = [task.file for task in plan(table, snapshot_id, None)]
    if len(data) > 1:
        data.sort(key=lambda file: int(from_bytes(ice.LongType(), file.lower_bounds[field.field_id])))
    found, filesystem = places(table, data)
    return [path if scheme == "file" else file.file_path for file, (scheme, _, path) in zip(data, found, strict=True)], filesystem


def places(table: Table, data: Sequence[DataFile]) -> tuple[list[tuple[str, str, str]], pafs.FileSystem]:
    """Scheme, host and path of each of these files, and what opens the paths. Raises: NotYet where they do not lie in one place."""
    properties = table.io.properties
    found = [parse_location(file.file_path, properties) for file in data]
    hosts = {(scheme, netloc) for scheme, netloc, _ in found} or {parse_location(table.location(), properties)[:2]}
    if len(hosts) > 1:
        raise NotYet(f"the files of {'.'.join(table.name())} lie in more than one place, and are read from one only")
    return found, pyarrow_io().PyArrowFileIO(properties).fs_by_scheme(*hosts.pop())


def read(
    table: Table, snapshot_id: int | None, *, columns: Sequence[str] | None = None, schema_id: int | None = None
) -> pa.RecordBatchReader:
    """As `scan`, always as a stream of Arrow batches of `tables.arrow_schema`'s types, in the order of the files."""
    schema = projection(table, snapshot_id, columns, schema_id)
    return _reader(table, schema, [] if snapshot_id is None else plan(table, snapshot_id, None, schema_id))


def changes(table: Table, after: int | None, until: int, *, columns: Sequence[str] | None = None, schema_id: int | None = None) -> Changes:
    """What changed since the snapshot `after`, up to `until` (included); `after` None: all rows of `until` were added.

    Both sides are read in one schema, as for `scan`: whether the columns meant the same before is for the caller to ask.
    Rewriting files without changing rows is no change where a snapshot says that it did only that. Raises: as `scan`.
    """
    if after is None:
        return Changes(scan(table, until, columns=columns, schema_id=schema_id))
    schema = projection(table, until, columns, schema_id)
    between = _between(table, after, until)
    if between is not None and all(_keeps_rows(table, snapshot) for snapshot in between):
        if not between:
            return Changes(relation(table, schema, []))
        found = table.incremental_append_scan(from_snapshot_id_exclusive=after, to_snapshot_id_inclusive=until)
        return Changes(relation(table, schema, planned(table, found.plan_files)))
    if table.snapshot_by_id(after) is None:
        return Changes(None)
    before = {_identity(task): task for task in plan(table, after, None)}
    now = {_identity(task): task for task in plan(table, until, None)}
    added, removed = ([mine[task] for task in mine if task not in other] for mine, other in ((now, before), (before, now)))
    return Changes(relation(table, schema, added), relation(table, schema, removed) if removed else None)


def _identity(task: FileScanTask) -> tuple[str, frozenset[str]]:
    """What a file's rows depend on: itself, and the deletes that hold for it."""
    return task.file.file_path, frozenset(file.file_path for file in task.delete_files)


def _between(table: Table, after: int, until: int) -> list[Snapshot] | None:
    found: list[Snapshot] = []
    current: int | None = until
    while current != after:
        snapshot = table.snapshot_by_id(current) if current is not None else None
        if snapshot is None:
            return None
        found.append(snapshot)
        current = snapshot.parent_snapshot_id
    return found


def _keeps_rows(table: Table, snapshot: Snapshot) -> bool:
    """Whether rows came with a snapshot and none went: what some writers call an append brings deletes."""
    operation = None if snapshot.summary is None else snapshot.summary.operation
    return operation == Operation.REPLACE or (operation == Operation.APPEND and not adds_deletes(table, snapshot))


def relation(table: Table, schema: Schema, tasks: list[FileScanTask]) -> IcebergFiles | pa.RecordBatchReader:
    """The rows of these files; see `scan`."""
    columns = [Column(field.field_id, field.name, types.sql_type(field.field_type) or "") for field in schema.fields]
    # DuckDB gives a column without a name one, and refuses names that differ in case only.
    readable = all(column.sql_type and column.name for column in columns) and len({column.name.lower() for column in columns}) == len(
        columns
    )
    paths = [_local_path(table, task) for task in tasks]
    local = tuple(path for path in paths if path is not None)
    if not readable or len(local) < len(paths) or any(field.initial_default is not None for field in schema.fields):
        return _reader(table, schema, tasks)
    if table.metadata.name_mapping() is not None and not all(map(_has_field_ids, local)):
        return _reader(table, schema, tasks)
    rows, size = sum(task.file.record_count for task in tasks), sum(task.file.file_size_in_bytes for task in tasks)
    return IcebergFiles(local, tuple(columns), rows=rows, bytes=size)


def _local_path(table: Table, task: FileScanTask) -> str | None:
    """Where DuckDB finds the file; None if it is elsewhere, not Parquet, or has deleted rows."""
    if task.delete_files or task.file.file_format != FileFormat.PARQUET:
        return None
    # The very rule by which pyiceberg finds a file: the path of an address is taken as it stands, not decoded.
    scheme, _, path = parse_location(task.file.file_path, table.io.properties)
    return path if scheme == "file" else None


def _has_field_ids(path: str) -> bool:
    # A name mapping says that files without ids may be there, and DuckDB reads these as NULL without a word.
    return all(types.FIELD_ID in (field.metadata or {}) for field in pq.read_schema(path))


def _reader(table: Table, schema: Schema, tasks: list[FileScanTask]) -> pa.RecordBatchReader:
    arrow = types.arrow_schema(schema)
    return pa.RecordBatchReader.from_batches(arrow, _batches(table, schema, tasks, arrow))


def _batches(table: Table, schema: Schema, tasks: list[FileScanTask], arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
    name = ".".join(table.name())
    # One file at a time: given all of them pyiceberg reads ahead without bound.
    for task in tasks:
        plain = _plain_file(table, schema, task)
        if plain is not None:
            file, names = plain
            with file:
                for batch in file.iter_batches(columns=names):
                    columns = [batch.column(column) for column in names]
                    yield fit(pa.RecordBatch.from_arrays(columns, arrow.names), arrow, name)
            continue
        for batch in pyarrow_io().ArrowScan(table.metadata, table.io, schema, AlwaysTrue()).to_record_batches([task]):
            yield fit(batch, arrow, name)


def _plain_file(table: Table, schema: Schema, task: FileScanTask) -> tuple[pq.ParquetFile, list[str]] | None:
    """A local file whose columns are those of the schema, and what they are called in it; None where pyiceberg must map them.

    Small tables are read so, such as the registry by every command: pyiceberg's reader takes half a second to import.
    """
    path = _local_path(table, task)
    if path is None or not all(field.field_type.is_primitive for field in schema.fields):
        return None
    file = pq.ParquetFile(path)
    names = {field.metadata[types.FIELD_ID]: field.name for field in file.schema_arrow if types.FIELD_ID in (field.metadata or {})}
    wanted = [str(field.field_id).encode() for field in schema.fields]
    if len(names) != len(file.schema_arrow) or len(set(names.values())) != len(names) or not set(wanted) <= names.keys():
        file.close()
        return None
    return file, [names[field_id] for field_id in wanted]
