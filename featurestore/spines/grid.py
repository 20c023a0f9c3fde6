"""The rows of a generated spine: every key of a service at every point of a time grid."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa

from featurestore.compiler.key_grid import key_grid, keys_of_view
from featurestore.compiler.log_diff import LIVE_COLUMNS
from featurestore.compiler.policy_join import visible_keys
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.row_policy import BoundPolicy
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.lakehouse.folders import data_folders
from featurestore.records.pinned import Pinned
from featurestore.records.runtime import Runtime
from featurestore.spines.time_grid import SpineGrid


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
