"""Reading a source: its columns, its rows at pinned snapshots, and what has changed since earlier pins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from featurestore.compiler.events import SOURCE, Events, compile_events
from featurestore.compiler.expressions import parse_query, query_tables, resolve
from featurestore.compiler.relations import IcebergFiles
from featurestore.dsl.csv import Csv
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.pipelines import times
from featurestore.pipelines.files import listing
from featurestore.pipelines.files.csv import CsvFiles, ReadBefore
from featurestore.pipelines.files.parquet import ParquetFiles
from featurestore.pipelines.inspected import raw_columns
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.query import add_query

Pins = Mapping[str, str]
"""What a source was read at: table -> snapshot id, or file -> its size and when it was written and changed."""


@dataclass(frozen=True)
class TimeBounds:
    """Event times wanted, in microseconds, both ends inclusive; only a promise that rows outside may be left out."""

    lower: int
    upper: int


def pins(parts: Parts, source: Source) -> Pins:
    """What the source holds now. A table without rows is pinned as an empty text."""
    if source.path is not None:
        return listing.states(listing.listed(source.path))
    names = _tables(source)
    return {name: str(tables.current_snapshot_id(tables.load(parts.catalog, name)) or "") for name in names}


def add(
    parts: Parts,
    session: Session,
    source: Source,
    at: Pins | None,
    reads: Sequence[str] | None = None,
    bounds: TimeBounds | None = None,
    name: str = SOURCE,
) -> int | None:
    """Make the source's raw rows at these pins readable under a name; `at` None gives its columns without any row.

    `reads` limits the columns where the source is one table; `bounds` prunes files where the event time is a raw column.
    Returns how many rows the files of the table have that can be read again and again at little cost; None where reading
    is dear, or possible only once. Raises: NotFound for a table or file that does not exist.
    """
    if source.path is not None:
        session.add(name, files(parts, source, at).relation)
        return None
    if source.table is not None:
        table = tables.load(parts.catalog, source.table)
        snapshot_id = _snapshot(at, source.table)
        time = None
        if bounds is not None and (raw := resolve(source.timestamp, tables.arrow_schema(table, snapshot_id).names)) is not None:
            time = None if source.timestamp in source.columns else TimeRange(raw, times.bound(bounds.lower), times.bound(bounds.upper))
        relation = scans.scan(table, snapshot_id, columns=reads, time=time)
        session.add(name, relation)
        return relation.rows if isinstance(relation, IcebergFiles) else None
    tree = parse_query(source.sql or "")
    names = {table: f"{name}_{index}" for index, table in enumerate(query_tables(tree))}
    for identifier, relation in names.items():
        session.add(relation, scans.scan(tables.load(parts.catalog, identifier), _snapshot(at, identifier)))
    add_query(session, name, tree, names, "its SQL")
    return None


def files(parts: Parts, source: Source, at: Pins | None) -> ParquetFiles | CsvFiles:
    """The files of a source, as they were pinned, or as they are now. Raises: RequestError and TypeMismatch as `Files.open`, and
    for a file without the column of the event time.
    """
    times = [name for name in (source.timestamp, source.created) if name and name not in source.columns]
    opened = parts.files.open(pins(parts, source) if at is None else at, source.format, times)
    _require(opened, times)
    return opened


def require_keys(parts: Parts, view: FeatureView, at: Pins | None = None) -> None:
    """Raises: RequestError for a file without a key of the view, when other files have it."""
    if view.source.path is not None:
        _require(files(parts, view.source, at), view.entity.keys)


def _require(opened: ParquetFiles | CsvFiles, names: Sequence[str]) -> None:
    """A file without one of these columns would have no row, without a word."""
    for name in names:
        if (path := opened.columns.lacking.get(resolve(name, opened.columns.lacking) or "")) is not None:
            raise RequestError(f"the file {path} has no column '{name}', and other files of the source have it", path=path, column=name)


def read_types(parts: Parts, source: Source, at: Pins, reads: Sequence[str]) -> dict[str, str]:
    """The types of the columns that were inferred from the rows of CSV files, and are none of the definition's."""
    if source.path is None:
        return {}
    opened = files(parts, source, at)
    inferred = opened.inferred if isinstance(opened, CsvFiles) else {}
    return {name: kind for name, kind in inferred.items() if name in reads}


def unknown_types(parts: Parts, source: Source, reads: Sequence[str]) -> list[str]:
    """What to do about each column that is read, and that no row of the CSV files has a value in."""
    opened = files(parts, source, None) if source.path is not None else None
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


def changes(parts: Parts, source: Source, since: Pins, at: Pins, reads: Sequence[str]) -> scans.Changes:
    """What changed in the source between two pins; both parts None where only reading all of it can tell."""
    if source.table is None or not since.get(source.table) or not at.get(source.table):
        return scans.Changes(None)
    return scans.changes(tables.load(parts.catalog, source.table), int(since[source.table]), int(at[source.table]), columns=reads)


def readable(parts: Parts, source: Source, at: Pins) -> bool:
    """Whether what the pins name is still there: snapshots that have not expired, files that are as they were."""
    if source.path is not None:
        return dict(pins(parts, source)) == dict(at)
    held = {name: tables.snapshot_ids(tables.load(parts.catalog, name)) for name in at}
    return set(held) == set(_tables(source)) and all(not pin or int(pin) in held[name] for name, pin in at.items())


def events(parts: Parts, session: Session, view: FeatureView, at: Pins | None = None) -> Events:
    """The events of a checked view over the columns that its source has at these pins, or now. Raises: NotFound as `add`; SqlProblem."""
    add(parts, session, view.source, at if view.source.path is not None else None)
    require_keys(parts, view, at)
    return compile_events(view, list(raw_columns(session)))


def _tables(source: Source) -> tuple[str, ...]:
    return (source.table,) if source.table is not None else query_tables(parse_query(source.sql or ""))


def _snapshot(at: Pins | None, name: str) -> int | None:
    return int(at[name]) if at and at.get(name) else None
