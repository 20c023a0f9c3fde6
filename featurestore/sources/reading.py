"""Read a pinned source: its columns, its rows, and the changes since earlier pins."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from featurestore.compiler.expressions import parse_query, resolve
from featurestore.compiler.parameters import SOURCE
from featurestore.compiler.relations import Column, Handle, IcebergFiles, LocalFiles
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.source import Source
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.files import confinement, listing
from featurestore.files.csv_files import CsvFiles, CsvWithKnownTypes
from featurestore.files.parquet_files import ParquetFiles
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.records import source_pins
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource, Pins
from featurestore.sources.query_rows import TableAt, query_columns, query_rows
from featurestore.values import times


@dataclass(frozen=True)
class TimeBounds:
    """Bounds of event times in microseconds, both inclusive: rows outside may be left out, but need not be."""

    lower: int
    upper: int


@dataclass(frozen=True)
class SourceRows:
    """A source's raw rows in a session; `cheap_rows` is their number in the table's files if these are cheap to read several times."""

    relation: Handle
    cheap_rows: int | None = None


def add_source(
    runtime: Runtime,
    session: Session,
    pinned: PinnedSource,
    reads: Sequence[str] | None = None,
    bounds: TimeBounds | None = None,
    name: str = SOURCE,
    rows: bool = True,
) -> SourceRows:
    """Add the source's raw rows to a session as relation `name`, which replaces an earlier one of that name; without `rows`, an empty
    relation with its columns, which may be those of an `origin`.

    `reads` limits the columns of a table source; `bounds` prunes files if the event time is a raw column. Raises: as `source_files`;
    NotFound for an expired snapshot.
    """
    source, table = pinned.source, pinned.source.catalog_table
    if pinned.origin is not None:
        return SourceRows(session.add(name, pinned.origin.schema.empty_table()))
    if source.files is not None:
        files = source_files(runtime, pinned).relation
        return SourceRows(session.add(name, files if rows else _without_rows(_file_columns(runtime, files))))
    if table is not None:
        granted = pinned.tables[table]
        snapshot_id, schema_id = pinned.read_at(table)
        time = time_range(pinned, table, bounds)
        if rows and pinned.scan is not None and pinned.scan.covers(time):
            relation = pinned.scan.read(reads, time)
        else:
            relation = scans.scan_snapshot(granted, snapshot_id if rows else None, columns=reads, time=time, schema_id=schema_id)
        return SourceRows(session.add(name, relation), relation.rows if isinstance(relation, IcebergFiles) else None)
    tree = parse_query(source.sql or "")
    read_at = {name: TableAt(granted, *pinned.read_at(name)) for name, granted in pinned.tables.items()}
    if rows:
        return SourceRows(session.add(name, query_rows(runtime, tree, read_at, "its SQL")))
    return SourceRows(session.add(name, _without_rows(query_columns(runtime, tree, read_at, "its SQL"))))


def plan_rows(pinned: PinnedSource, bounds: TimeBounds) -> PinnedSource:
    """The source, whose rows within bounds are then read by one plan, in one pass over the table's manifests; only if it is one table."""
    name = pinned.source.catalog_table
    if name is None:
        return pinned
    snapshot_id, schema_id = pinned.read_at(name)
    return replace(pinned, scan=PlannedScan(pinned.tables[name], snapshot_id, time_range(pinned, name, bounds), schema_id))


def time_range(pinned: PinnedSource, name: str, bounds: TimeBounds | None) -> TimeRange | None:
    """The bounds as a range of a table's raw column of event times; None without bounds, or if an expression computes that time."""
    source = pinned.source
    raw = resolve(source.timestamp, tables.column_names(pinned.tables[name].table, pinned.read_at(name)[1]))
    if bounds is None or raw is None or source.timestamp in source.columns:
        return None
    return TimeRange(raw, times.bound(bounds.lower), times.bound(bounds.upper))


def source_files(runtime: Runtime, pinned: PinnedSource) -> ParquetFiles | CsvFiles:
    """Open the pinned files of a source.

    Raises: as `FileCache.open`; RequestError for a file without the event time's column.
    """
    source = pinned.source
    times = [name for name in (source.timestamp, source.created) if name and name not in source.columns]
    if runtime.source_folders is not None:
        confinement.refuse_outside(pinned.pins, runtime.source_folders)
    files = runtime.files.open(pinned.pins, source.format, times, source.partitions)
    _require(files, times)
    return files


def require_keys(runtime: Runtime, pinned: PinnedSource, keys: Sequence[str]) -> None:
    """Raises: RequestError for a file without one of the key columns, if other files have it."""
    if pinned.source.files is not None:
        _require(source_files(runtime, pinned), keys)


def _require(files: ParquetFiles | CsvFiles, names: Sequence[str]) -> None:
    """Refuse files without one of these columns: their rows would be dropped silently."""
    for name in names:
        if (path := files.columns.lacking.get(resolve(name, files.columns.lacking) or "")) is not None:
            raise RequestError(f"the file {path} has no column '{name}', and other files of the source have it", path=path, column=name)


def read_types(runtime: Runtime, pinned: PinnedSource, reads: Sequence[str]) -> dict[str, str]:
    """The types that were inferred from the rows of CSV files, of columns in `reads`."""
    if pinned.source.files is None:
        return {}
    files = source_files(runtime, pinned)
    inferred = files.inferred if isinstance(files, CsvFiles) else {}
    return {name: sql_type for name, sql_type in inferred.items() if name in reads}


def unknown_types(runtime: Runtime, pinned: PinnedSource, reads: Sequence[str]) -> list[str]:
    """A message for each column in `reads` whose type is unknown because no row of the CSV files has a value."""
    source = pinned.source
    files = source_files(runtime, pinned) if source.files is not None else None
    times = {name.lower() for name in (source.timestamp, source.created) if name}
    names = files.unknown if isinstance(files, CsvFiles) else ()
    return [
        f"no row has a value in column '{name}', so its type is unknown; declare it: format=Csv(types={{{name!r}: 'double'}})"
        for name in names
        if name in reads and name.lower() not in times
    ]


def with_known_types(source: Source, types: Mapping[str, str]) -> Source:
    """A source whose columns have the types that earlier runs inferred."""
    if not types:
        return source
    csv = source.format or Csv()
    before = {name: sql_type for name, sql_type in types.items() if name not in csv.types}
    return replace(source, format=CsvWithKnownTypes(**{entry.name: getattr(csv, entry.name) for entry in fields(Csv)}, before=before))


def refuse_changed(pinned: PinnedSource) -> None:
    """Raises: RequestError naming a file that has changed since it was pinned."""
    source = pinned.source
    if source.files is not None and (path := listing.first_changed(pinned.pins)) is not None:
        raise RequestError(
            f"the file {path} of source {source.name} was changed, replaced or removed while it was read; nothing was written. Run again",
            path=path,
        )


def source_folders(pinned: PinnedSource) -> list[str]:
    """The local folders that a session must be able to read for this source; a query's rows are read by another session."""
    if pinned.source.files is not None:
        return sorted({os.path.dirname(path) for path in pinned.pins})
    return [] if pinned.granted is None else data_folders(pinned.granted)


@contextmanager
def naming_changed(pinned: PinnedSource) -> Iterator[None]:
    """A context in which errors because of a changed file name that file. Raises: as `refuse_changed`."""
    try:
        yield
    except RequestError:
        refuse_changed(pinned)
        raise


def source_changes(pinned: PinnedSource, since: Pins, reads: Sequence[str]) -> scans.Changes:
    """The changes of a table source between earlier pins and its own; the columns in `reads` must be the same ones in both.

    Without changed columns or rows in the result, they are unknown: the whole source must be read.
    """
    name, granted = pinned.source.catalog_table, pinned.granted
    if name is None or granted is None:
        return scans.Changes(None)
    before, (now, schema_id) = source_pins.snapshot_id(since.get(name, "")), pinned.read_at(name)
    if before is None or now is None:
        return scans.Changes(None)
    return scans.read_changes(granted, before, now, columns=reads, schema_id=schema_id)


def _file_columns(runtime: Runtime, files: LocalFiles) -> dict[str, str]:
    """The columns of files and their types, from a session that may read files, and runs no user SQL."""
    with runtime.engine.session(files.folders) as session:
        return session.schema(session.add(SOURCE, files))


def _without_rows(columns: Mapping[str, str]) -> IcebergFiles:
    return IcebergFiles((), tuple(Column(index, name, sql_type) for index, (name, sql_type) in enumerate(columns.items(), 1)))
