"""Reading a source: its columns, its rows at pinned snapshots, and what has changed since earlier pins."""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.events import SOURCE, Events, compile_events
from featurestore.compiler.expressions import parse_query, query_tables, resolve
from featurestore.compiler.relations import IcebergFiles, LocalFiles
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.pipelines import times
from featurestore.pipelines.inspected import raw_columns
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.query import add_query

Pins = Mapping[str, str]
"""What a source was read at: table -> snapshot id, or file -> size and modification time."""


@dataclass(frozen=True)
class TimeBounds:
    """Event times wanted, in microseconds, both ends inclusive; only a promise that rows outside may be left out."""

    lower: int
    upper: int


def pins(parts: Parts, source: Source) -> Pins:
    """What the source holds now. A table without rows is pinned as an empty text."""
    if source.path is not None:
        return {path: _file_state(path) for path in sorted(glob.glob(source.path, recursive=True))}
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
        session.add(name, LocalFiles(source.path, "parquet" if source.path.endswith(".parquet") else "csv"))
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


def events(parts: Parts, session: Session, view: FeatureView) -> Events:
    """The events of a checked view over the columns that its source has now. Raises: NotFound as `add`; SqlProblem."""
    add(parts, session, view.source, None)
    return compile_events(view, list(raw_columns(session)))


def _tables(source: Source) -> tuple[str, ...]:
    return (source.table,) if source.table is not None else query_tables(parse_query(source.sql or ""))


def _snapshot(at: Pins | None, name: str) -> int | None:
    return int(at[name]) if at and at.get(name) else None


def _file_state(path: str) -> str:
    state = os.stat(path)
    return f"{state.st_size}:{state.st_mtime_ns}"
