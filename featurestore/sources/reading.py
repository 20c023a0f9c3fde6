"""Reading a source that was opened: its columns, its rows at its pins, and what has changed since earlier pins."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from featurestore.compiler.events import SOURCE
from featurestore.compiler.expressions import parse_query, resolve
from featurestore.compiler.relations import Column, IcebergFiles, LocalFiles
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.source import Source
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.files import confinement, listing
from featurestore.files.csv_files import CsvFiles, CsvWithKnownTypes
from featurestore.files.parquet_files import ParquetFiles
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.records import source_pins
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource, Pins
from featurestore.sources.query_rows import TableAt, query_columns, query_rows
from featurestore.values import times


@dataclass(frozen=True)
class TimeBounds:
    """Event times wanted, in microseconds, both ends inclusive; only a promise that rows outside may be left out."""

    lower: int
    upper: int


def add_source(
    runtime: Runtime,
    session: Session,
    pinned: PinnedSource,
    reads: Sequence[str] | None = None,
    bounds: TimeBounds | None = None,
    name: str = SOURCE,
    rows: bool = True,
) -> int | None:
    """Make the source's raw rows at its pins readable under a name; without `rows`, its columns without any row.

    `reads` limits the columns where the source is one table; `bounds` prunes files where the event time is a raw column.
    Returns how many rows the files of the table have that can be read again and again at little cost; None where reading
    is dear, or possible only once. Raises: as `files`, and NotFound for a snapshot that is gone.
    """
    source = pinned.source
    if source.path is not None:
        found = source_files(runtime, pinned).relation
        session.add(name, found if rows else _without_rows(_file_columns(runtime, found)))
        return None
    if source.table is not None:
        table = pinned.tables[source.table]
        snapshot_id, schema_id = pinned.read_at(source.table)
        time = None
        known = tables.column_names(table, schema_id)
        if bounds is not None and (raw := resolve(source.timestamp, known)) is not None:
            time = None if source.timestamp in source.columns else TimeRange(raw, times.bound(bounds.lower), times.bound(bounds.upper))
        relation = scans.scan_snapshot(table, snapshot_id if rows else None, columns=reads, time=time, schema_id=schema_id)
        session.add(name, relation)
        return relation.rows if isinstance(relation, IcebergFiles) else None
    tree = parse_query(source.sql or "")
    read_at = {name: TableAt(table, *pinned.read_at(name)) for name, table in pinned.tables.items()}
    if rows:
        session.add(name, query_rows(runtime, tree, read_at, "its SQL"))
    else:
        session.add(name, _without_rows(query_columns(runtime, tree, read_at, "its SQL")))
    return None


def source_files(runtime: Runtime, pinned: PinnedSource) -> ParquetFiles | CsvFiles:
    """The files of a source, as they were pinned. Raises: RequestError and TypeMismatch as `Files.open`, and
    for a file without the column of the event time.
    """
    source = pinned.source
    times = [name for name in (source.timestamp, source.created) if name and name not in source.columns]
    if runtime.source_folders is not None:
        confinement.refuse_outside(pinned.pins, runtime.source_folders)
    opened = runtime.files.open(pinned.pins, source.format, times)
    _require(opened, times)
    return opened


def require_keys(runtime: Runtime, pinned: PinnedSource, keys: Sequence[str]) -> None:
    """Raises: RequestError for a file without one of the key columns, when other files have it."""
    if pinned.source.path is not None:
        _require(source_files(runtime, pinned), keys)


def _require(opened: ParquetFiles | CsvFiles, names: Sequence[str]) -> None:
    """A file without one of these columns would have no row, without a word."""
    for name in names:
        if (path := opened.columns.lacking.get(resolve(name, opened.columns.lacking) or "")) is not None:
            raise RequestError(f"the file {path} has no column '{name}', and other files of the source have it", path=path, column=name)


def read_types(runtime: Runtime, pinned: PinnedSource, reads: Sequence[str]) -> dict[str, str]:
    """The types of the columns that were inferred from the rows of CSV files, and are none of the definition's."""
    if pinned.source.path is None:
        return {}
    opened = source_files(runtime, pinned)
    inferred = opened.inferred if isinstance(opened, CsvFiles) else {}
    return {name: kind for name, kind in inferred.items() if name in reads}


def unknown_types(runtime: Runtime, pinned: PinnedSource, reads: Sequence[str]) -> list[str]:
    """What to do about each column that is read, and that no row of the CSV files has a value in."""
    source = pinned.source
    opened = source_files(runtime, pinned) if source.path is not None else None
    times = {name.lower() for name in (source.timestamp, source.created) if name}
    names = opened.unknown if isinstance(opened, CsvFiles) else ()
    return [
        f"no row has a value in column '{name}', so nothing tells its type; declare it: format=Csv(types={{{name!r}: 'double'}})"
        for name in names
        if name in reads and name.lower() not in times
    ]


def with_known_types(source: Source, types: Mapping[str, str]) -> Source:
    """A source whose columns have the types that earlier runs inferred."""
    if not types:
        return source
    written = source.format or Csv()
    before = {name: kind for name, kind in types.items() if name not in written.types}
    return replace(source, format=CsvWithKnownTypes(**{entry.name: getattr(written, entry.name) for entry in fields(Csv)}, before=before))


def refuse_moved(pinned: PinnedSource) -> None:
    """Raises: RequestError when a file is not as it was pinned."""
    source = pinned.source
    if source.path is not None and (path := listing.first_changed(pinned.pins)) is not None:
        raise RequestError(
            f"the file {path} of source {source.name} was changed, replaced or removed while it was read; nothing was written. Run again",
            path=path,
        )


def source_folders(pinned: PinnedSource) -> list[str]:
    """The folders on this machine that hold the source's files; those of a query are none of a session's that reads its rows."""
    if pinned.source.path is not None:
        return sorted({os.path.dirname(path) for path in pinned.pins})
    return [] if pinned.table is None else data_folders(pinned.table)


@contextmanager
def naming_moved(pinned: PinnedSource) -> Iterator[None]:
    """What cannot be read because a file is not as it was pinned is told with its name. Raises: as `refuse_moved`."""
    try:
        yield
    except RequestError:
        refuse_moved(pinned)
        raise


def source_changes(pinned: PinnedSource, since: Pins, reads: Sequence[str]) -> scans.Changes:
    """What changed in the source between earlier pins and its own, between which the names of `reads` did not change their meaning.

    Both parts are None where only reading all of it can tell.
    """
    name, table = pinned.source.table, pinned.table
    if name is None or table is None:
        return scans.Changes(None)
    before, (now, schema_id) = source_pins.snapshot_id(since.get(name, "")), pinned.read_at(name)
    if before is None or now is None:
        return scans.Changes(None)
    return scans.read_changes(table, before, now, columns=reads, schema_id=schema_id)


def _file_columns(runtime: Runtime, files: LocalFiles) -> dict[str, str]:
    """The columns of files, seen by a session that runs no SQL from a user."""
    with runtime.engine.session(files.folders) as session:
        return session.schema(session.add(SOURCE, files))


def _without_rows(columns: Mapping[str, str]) -> IcebergFiles:
    return IcebergFiles((), tuple(Column(index, name, kind) for index, (name, kind) in enumerate(columns.items(), 1)))
