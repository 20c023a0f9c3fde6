"""A spine that nobody brought: every key of a service at every point of a time grid."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import quoted
from featurestore.compiler.log_diff import LIVE_COLUMNS, live_rows
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.dsl.csv import Csv
from featurestore.dsl.durations import microseconds
from featurestore.errors import RequestError, brief
from featurestore.lakehouse.folders import data_folders
from featurestore.records.pinned import Pinned
from featurestore.records.runtime import Runtime
from featurestore.spines.file_format import in_format
from featurestore.values import times
from featurestore.values.arguments import text

TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class SpineGrid:
    """The times start, start + every, ... up to `end`, which is included if it is one of them; in microseconds."""

    start: int
    end: int
    every: int


def asked(
    spine: Any,
    timestamp: str | None,
    start: datetime | str | None,
    end: datetime | str | None,
    every: str | None,
    format: Csv | None = None,
) -> tuple[Any, str]:
    """The spine, in its format, and its timestamp column: what was given, or else the grid.

    Raises: RequestError for both or neither, or half of one, and for a format of what is no CSV files.
    """
    grid = {"start": start, "end": end, "every": every}
    given = [name for name, value in grid.items() if value is not None]
    if spine is not None:
        if given:
            raise RequestError(f"give either spine= or start=, end= and every=, not spine= and {given[0]}=", field=given[0])
        if timestamp is None:
            raise RequestError("a spine needs timestamp=, its column with each row's time", field="timestamp")
        return in_format(spine, format), text(timestamp, "timestamp")
    if format is not None:
        raise RequestError("format= says how a spine's CSV files are written, and there is no spine", field="format")
    if start is None or end is None or every is None:
        missing = next(name for name, value in grid.items() if value is None)
        raise RequestError(f"give spine= with timestamp=, or start=, end= and every=: {missing}= is missing", field=missing)
    return parsed(start, end, every), TIMESTAMP if timestamp is None else text(timestamp, "timestamp")


def parsed(start: datetime | str, end: datetime | str, every: str) -> SpineGrid:
    """A grid from times and a duration. Raises: RequestError naming what is wrong."""
    try:
        step = microseconds(every)
    except ValueError as error:
        raise RequestError(f"every: {error}", field="every") from error
    grid = SpineGrid(times.parse(start, "start"), times.parse(end, "end"), step)
    if step <= 0:
        raise RequestError(f"every={brief(every)} is no step; write one such as '1d'", field="every")
    if grid.end < grid.start:
        raise RequestError(f"end {times.text(grid.end)} is before start {times.text(grid.start)}", field="end")
    return grid


@contextmanager
def opened(
    runtime: Runtime, plan: ServicePlan, pinned: Mapping[str, Pinned], grid: SpineGrid, timestamp: str, known: str
) -> Iterator[pa.RecordBatchReader]:
    """A stream of the service's key columns and `timestamp`, ordered by both, a row for each key and time.

    The keys are those that the feature tables of the views with all key columns of the service hold, at the pinned snapshots and
    with a row at `end` or before that is not deleted; with `known` "then", a deletion counts if it was known by `end`.
    Raises: RequestError where that does not say which rows there are.
    """
    uses = _keyed(plan)
    if timestamp in plan.entity_columns:
        raise RequestError(f"'{timestamp}' is a key column of service {plan.service}; give timestamp= another name", field="timestamp")
    keys = ", ".join(map(quoted, plan.entity_columns))
    with runtime.engine.session(data_folders(*(pinned[use.table].table for use in uses))) as session:
        found: list[str] = []
        for index, use in enumerate(uses):
            own = [key for key, _ in use.keys]
            table = pinned[use.table]
            session.add(
                f"log_{index}", table.rows([*own, *LIVE_COLUMNS] if table.deletions else [*own, "feature_timestamp"], None, grid.end)
            )
            until = grid.end if known == "then" else None
            rows = f"({live_rows(own, f'log_{index}', until)})" if table.deletions else f"log_{index}"
            columns = {column: quoted(key) for key, column in use.keys}
            selected = ", ".join(f"{columns[column]} AS {quoted(column)}" for column in plan.entity_columns)
            whole = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in own)
            found.append(f"SELECT DISTINCT {selected} FROM {rows} WHERE {whole} AND feature_timestamp <= make_timestamptz({grid.end})")
        points = f"SELECT make_timestamptz(unnest(range({grid.start}, {grid.end + 1}, {grid.every}))) AS __fs_t"
        sql = f"SELECT {keys}, __fs_t AS {quoted(timestamp)} FROM ({' UNION '.join(found)}) CROSS JOIN ({points}) ORDER BY {keys}, __fs_t"
        yield session.batches(sql)


def _keyed(plan: ServicePlan) -> list[ViewUse]:
    """The uses whose keys are all of the service's."""
    if plan.request:
        raise RequestError(
            f"service {plan.service} has request fields, which only callers know ({', '.join(name for name, _ in plan.request)});"
            " give a spine with them",
            field="spine",
        )
    uses = [use for use in plan.uses if {column for _, column in use.keys} == set(plan.entity_columns)]
    if not uses:
        raise RequestError(
            f"no view of service {plan.service} has all of its keys ({', '.join(plan.entity_columns)}), so nothing says which belong"
            " together; give a spine",
            field="spine",
        )
    return uses
