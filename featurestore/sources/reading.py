"""Reading a source: its columns, its rows at pinned snapshots, and what has changed since earlier pins."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

from featurestore.compiler.events import SOURCE
from featurestore.compiler.expressions import parse_query, query_tables, resolve
from featurestore.compiler.relations import Column, IcebergFiles, LocalFiles
from featurestore.dsl.csv import Csv
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.files import confinement, listing
from featurestore.files.csv_files import CsvFiles, ReadBefore
from featurestore.files.parquet_files import ParquetFiles
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.records import source_pins
from featurestore.records.runtime import Runtime
from featurestore.sources.query_rows import query_columns, query_rows
from featurestore.values import times

Pins = Mapping[str, str]
"""What a source was read at: table -> snapshot id, or file -> its size and when it was written and changed."""


@dataclass(frozen=True)
class TimeBounds:
    """Event times wanted, in microseconds, both ends inclusive; only a promise that rows outside may be left out."""

    lower: int
    upper: int


def pins(runtime: Runtime, source: Source) -> Pins:
    """What the source holds now."""
    if source.path is not None:
        folders = runtime.source_folders
        return listing.states(listing.listed(source.path) if folders is None else confinement.listed(source.path, folders))
    return {name: source_pins.current_pin(runtime.source_table(name)) for name in source_tables(source)}


def add(
    runtime: Runtime,
    session: Session,
    source: Source,
    at: Pins | None,
    reads: Sequence[str] | None = None,
    bounds: TimeBounds | None = None,
    name: str = SOURCE,
    rows: bool = True,
) -> int | None:
    """Make the source's raw rows at these pins readable under a name; `at` None gives its columns as of now without any row.

    Without `rows`, the columns at these pins without any row.
    `reads` limits the columns where the source is one table; `bounds` prunes files where the event time is a raw column.
    Returns how many rows the files of the table have that can be read again and again at little cost; None where reading
    is dear, or possible only once. Raises: NotFound for a table or file that does not exist.
    """
    if source.path is not None:
        found = files(runtime, source, at).relation
        session.add(name, _without_rows(_file_columns(runtime, found)) if at is None or not rows else found)
        return None
    if source.table is not None:
        table = runtime.source_table(source.table)
        snapshot_id, schema_id = _read_at(at, source.table, table)
        time = None
        known = tables.column_names(table, schema_id)
        if bounds is not None and (raw := resolve(source.timestamp, known)) is not None:
            time = None if source.timestamp in source.columns else TimeRange(raw, times.bound(bounds.lower), times.bound(bounds.upper))
        relation = scans.scan_snapshot(table, snapshot_id if rows else None, columns=reads, time=time, schema_id=schema_id)
        session.add(name, relation)
        return relation.rows if isinstance(relation, IcebergFiles) else None
    tree = parse_query(source.sql or "")
    names = query_tables(tree)
    read_at = {table: _read_at(at, table, runtime.source_table(table)) for table in names}
    if at is None or not rows:
        session.add(name, _without_rows(query_columns(runtime, tree, read_at, "its SQL")))
    else:
        session.add(name, query_rows(runtime, tree, read_at, "its SQL"))
    return None


def files(runtime: Runtime, source: Source, at: Pins | None) -> ParquetFiles | CsvFiles:
    """The files of a source, as they were pinned, or as they are now. Raises: RequestError and TypeMismatch as `Files.open`, and
    for a file without the column of the event time.
    """
    times = [name for name in (source.timestamp, source.created) if name and name not in source.columns]
    if at is not None and runtime.source_folders is not None:
        confinement.refuse_outside(at, runtime.source_folders)
    opened = runtime.files.open(pins(runtime, source) if at is None else at, source.format, times)
    _require(opened, times)
    return opened


def require_keys(runtime: Runtime, view: FeatureView, at: Pins | None = None) -> None:
    """Raises: RequestError for a file without a key of the view, when other files have it."""
    if view.source.path is not None:
        _require(files(runtime, view.source, at), view.entity.keys)


def _require(opened: ParquetFiles | CsvFiles, names: Sequence[str]) -> None:
    """A file without one of these columns would have no row, without a word."""
    for name in names:
        if (path := opened.columns.lacking.get(resolve(name, opened.columns.lacking) or "")) is not None:
            raise RequestError(f"the file {path} has no column '{name}', and other files of the source have it", path=path, column=name)


def read_types(runtime: Runtime, source: Source, at: Pins, reads: Sequence[str]) -> dict[str, str]:
    """The types of the columns that were inferred from the rows of CSV files, and are none of the definition's."""
    if source.path is None:
        return {}
    opened = files(runtime, source, at)
    inferred = opened.inferred if isinstance(opened, CsvFiles) else {}
    return {name: kind for name, kind in inferred.items() if name in reads}


def unknown_types(runtime: Runtime, source: Source, reads: Sequence[str]) -> list[str]:
    """What to do about each column that is read, and that no row of the CSV files has a value in."""
    opened = files(runtime, source, None) if source.path is not None else None
    times = {name.lower() for name in (source.timestamp, source.created) if name}
    names = opened.unknown if isinstance(opened, CsvFiles) else ()
    return [
        f"no row has a value in column '{name}', so nothing tells its type; declare it: format=Csv(types={{{name!r}: 'double'}})"
        for name in names
        if name in reads and name.lower() not in times
    ]


def as_before(source: Source, types: Mapping[str, str]) -> Source:
    """A source whose columns have the types that earlier runs inferred."""
    if not types:
        return source
    written = source.format or Csv()
    before = {name: kind for name, kind in types.items() if name not in written.types}
    return replace(source, format=ReadBefore(**{entry.name: getattr(written, entry.name) for entry in fields(Csv)}, before=before))


def refuse_moved(source: Source, at: Pins) -> None:
    """Raises: RequestError when a file is not as it was pinned."""
    if source.path is not None and (path := listing.moved(at)) is not None:
        raise RequestError(
            f"the file {path} of source {source.name} was changed, replaced or removed while it was read; nothing was written. Run again",
            path=path,
        )


def folders(runtime: Runtime, source: Source, at: Pins) -> list[str]:
    """The folders on this machine that hold the source's files; those of a query are none of a session's that reads its rows."""
    if source.path is not None:
        return sorted({os.path.dirname(path) for path in at})
    return data_folders(runtime.source_table(source.table)) if source.table is not None else []


@contextmanager
def naming_moved(source: Source, at: Pins) -> Iterator[None]:
    """What cannot be read because a file is not as it was pinned is told with its name. Raises: as `refuse_moved`."""
    try:
        yield
    except RequestError:
        refuse_moved(source, at)
        raise


def changes(runtime: Runtime, source: Source, since: Pins, at: Pins, reads: Sequence[str]) -> scans.Changes:
    """What changed in the source between two pins, between which the names of `reads` did not change their meaning.

    Both parts are None where only reading all of it can tell.
    """
    before, now = (source_pins.snapshot_id(pins.get(source.table or "", "")) for pins in (since, at))
    if source.table is None or before is None or now is None:
        return scans.Changes(None)
    table = runtime.source_table(source.table)
    return scans.read_changes(table, before, now, columns=reads, schema_id=_read_at(at, source.table, table)[1])


def readable(runtime: Runtime, source: Source, at: Pins) -> bool:
    """Whether what the pins name is still there: snapshots that have not expired, files that are as they were."""
    if source.path is not None:
        return dict(pins(runtime, source)) == dict(at)
    if set(at) != set(source_tables(source)):
        return False
    return all(_is_there(runtime.source_table(name), pin) for name, pin in at.items())


def _file_columns(runtime: Runtime, files: LocalFiles) -> dict[str, str]:
    """The columns of files, seen by a session that runs no SQL from a user."""
    with runtime.engine.session(files.folders) as session:
        session.add(SOURCE, files)
        return session.schema(f"SELECT * FROM {SOURCE}")


def _without_rows(columns: Mapping[str, str]) -> IcebergFiles:
    return IcebergFiles((), tuple(Column(index, name, kind) for index, (name, kind) in enumerate(columns.items(), 1)))


def source_tables(source: Source) -> tuple[str, ...]:
    """The catalog tables that a source reads; none for files."""
    if source.path is not None:
        return ()
    return (source.table,) if source.table is not None else query_tables(parse_query(source.sql or ""))


def _is_there(table: tables.Table, pin: str) -> bool:
    snapshot, schema = source_pins.snapshot_id(pin), source_pins.schema_id(pin)
    return (snapshot is None or snapshot in tables.snapshot_ids(table)) and (schema is None or schema in table.schemas())


def _read_at(at: Pins | None, name: str, table: tables.Table) -> tuple[int | None, int]:
    """The ids of the snapshot and the schema to read; a pin of an earlier release means the snapshot's own schema."""
    pin = (at or {}).get(name, "")
    snapshot, schema = source_pins.snapshot_id(pin), source_pins.schema_id(pin)
    return snapshot, tables.schema_of(table, snapshot).schema_id if schema is None else schema
