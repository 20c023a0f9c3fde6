"""A generated spine: every key of a service at every point of a time grid."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.compiler.key_grid import key_grid, keys_of_view
from featurestore.compiler.log_diff import LIVE_COLUMNS
from featurestore.compiler.policy_join import visible_keys
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.durations import microseconds
from featurestore.engine.session import Session
from featurestore.errors import RequestError, brief
from featurestore.lakehouse.folders import data_folders
from featurestore.records.pinned import Pinned
from featurestore.records.runtime import Runtime
from featurestore.spines.file_format import with_format
from featurestore.values import times
from featurestore.values.arguments import check_text

TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class SpineGrid:
    """The times start, start + every, ... up to and including `end`, in microseconds."""

    start: int
    end: int
    every: int


def spine_or_grid(
    spine: Any,
    timestamp: str | None,
    start: datetime | str | None,
    end: datetime | str | None,
    every: str | None,
    format: Csv | None = None,
) -> tuple[Any, str]:
    """The caller's spine with its format, or the grid, and the name of the timestamp column.

    Raises: RequestError if both or neither are given, if arguments are missing, or for a format without CSV files.
    """
    grid = {"start": start, "end": end, "every": every}
    grid_arguments = [name for name, value in grid.items() if value is not None]
    if spine is not None:
        if grid_arguments:
            raise RequestError(
                f"give either spine= or start=, end= and every=, not spine= and {grid_arguments[0]}=", field=grid_arguments[0]
            )
        if timestamp is None:
            raise RequestError("a spine needs timestamp=, its column with each row's time", field="timestamp")
        return with_format(spine, format), check_text(timestamp, "timestamp")
    if format is not None:
        raise RequestError("format= says how a spine's CSV files are written, and there is no spine", field="format")
    if start is None or end is None or every is None:
        missing = next(name for name, value in grid.items() if value is None)
        raise RequestError(f"give spine= with timestamp=, or start=, end= and every=: {missing}= is missing", field=missing)
    return parse_grid(start, end, every), TIMESTAMP if timestamp is None else check_text(timestamp, "timestamp")


def parse_grid(start: datetime | str, end: datetime | str, every: str) -> SpineGrid:
    """Parse a grid from times and a duration. Raises: RequestError naming what is wrong."""
    try:
        step = microseconds(every)
    except ValueError as error:
        raise RequestError(f"every: {error}", field="every") from error
    grid = SpineGrid(times.parse(start, "start"), times.parse(end, "end"), step)
    if step <= 0:
        raise RequestError(f"every={brief(every)} must be longer than zero, such as '1d'", field="every")
    if grid.end < grid.start:
        raise RequestError(f"end {times.text(grid.end)} is before start {times.text(grid.start)}", field="end")
    return grid


@contextmanager
def open_grid(
    runtime: Runtime, plan: ServicePlan, pinned: Mapping[str, Pinned], grid: SpineGrid, timestamp: str, known: str
) -> Iterator[pa.RecordBatchReader]:
    """Open a stream of the service's key columns and `timestamp`, ordered by both, one row per key and time.

    The keys are those in the feature tables of the views that have all key columns of the service, at the pinned snapshots, with a row at
    or before `end` that is not deleted; with `known` "then", a deletion counts if it was known by `end`. Where a row filter is in force,
    only rows that may be seen count, in their latest versions: a key of which all rows of these views are hidden is not there.
    Raises: RequestError if the keys cannot be determined in this way.
    """
    uses = _uses_with_all_keys(plan)
    if timestamp in plan.entity_columns:
        raise RequestError(f"'{timestamp}' is a key column of service {plan.service}; give timestamp= another name", field="timestamp")
    until = grid.end if known == "then" else None
    with runtime.engine.session(data_folders(*(pinned[use.table].granted for use in uses))) as session:
        keys: list[Query] = []
        for index, use in enumerate(uses):
            table = pinned[use.table]
            policy = table.policy
            if policy is not None and policy.filters:
                keys.append(_add_visible_keys(session, index, table, policy, use, plan.entity_columns, grid.end, until))
                continue
            read = [*(key for key, _ in use.keys), *(LIVE_COLUMNS if table.deletions else LIVE_COLUMNS[:1])]
            log = session.add(f"log_{index}", table.rows(read, None, grid.end))
            keys.append(keys_of_view(log, use, plan.entity_columns, grid.end, deletions=table.deletions, until=until))
        yield session.batches(key_grid(keys, plan.entity_columns, timestamp, grid.start, grid.end, grid.every))


def _add_visible_keys(
    session: Session,
    index: int,
    table: Pinned,
    policy: BoundPolicy,
    use: ViewUse,
    names: Sequence[str],
    end: int,
    until: int | None,
) -> Query:
    """The keys of a view of which a row may be seen."""
    keys = [key for key, _ in use.keys]
    deleted = LIVE_COLUMNS[2] if table.deletions else None
    read = policy.reads([*keys, *(LIVE_COLUMNS if table.deletions else LIVE_COLUMNS[:2])])
    log = session.add(f"log_{index}", table.rows(read, None, end))
    key_of = {name: key for key, name in use.keys}
    found = visible_keys(log, [key_of[name] for name in names], list(names), policy, end, deleted=deleted, until=until)
    return all_rows(session.create_table(f"keys_{index}", found))


def _uses_with_all_keys(plan: ServicePlan) -> list[ViewUse]:
    """The view uses that have all keys of the service."""
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
