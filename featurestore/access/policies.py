"""The registry of policies: an append-only Iceberg table with a row for each policy of a table or view that was applied."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.access.policy_results import PolicyInfo
from featurestore.access.privileges import Kind, Securable
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.row_policy import OPEN, RowPolicy
from featurestore.dsl import documents
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values import times
from featurestore.values.table_names import folded

SCHEMA = pa.schema(
    [
        ("on_kind", pa.string()),
        ("on_name", pa.string()),
        ("policy", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each policy, a document as JSON; the last one of an object holds."""


@dataclass(frozen=True)
class StoredPolicy:
    """The policy of an object, with who applied it and when."""

    on: Securable
    policy: TablePolicy
    by: str | None
    at: datetime

    def in_force(self, groups: frozenset[str]) -> RowPolicy:
        """What is in force for members of these groups, who are not administrators. Raises: NotReady if this release refuses its SQL."""
        masks = {name: mask.sql for name, mask in self.policy.masks.items() if groups.isdisjoint(mask.unless)}
        rows = self.policy.rows
        try:
            return RowPolicy.of(masks, None if rows is None or not groups.isdisjoint(rows.unless) else rows.sql)
        except SqlProblem as error:
            raise NotReady(f"the policy of {self.on} cannot be read ({error}); an administrator must apply it again") from error

    def describe(self, with_sql: bool = True) -> Iterator[PolicyInfo]:
        """Its rules as they are listed."""

        def info(rule: Any, column: str | None, of: Mask | RowFilter | None) -> PolicyInfo:
            sql, unless = (None, ()) if of is None else (of.sql if with_sql else None, tuple(of.unless))
            return PolicyInfo(str(self.on), rule, column, sql, unless, self.at, self.by)

        policy = self.policy
        yield from (info("mask", name, mask) for name, mask in policy.masks.items())
        if policy.rows is not None:
            yield info("rows", None, policy.rows)
        yield from (info("declassify", name, None) for name in policy.declassify)
        if policy.declassify_rows:
            yield info("declassify_rows", None, None)


Policies = Mapping[Securable, StoredPolicy]
"""The policies in force, by their objects."""


def object_of(policy: TablePolicy) -> Securable:
    """The table or view of a policy, whose name is one within the catalog."""
    return Securable(Kind.TABLE if "." in policy.table else Kind.VIEW, policy.table)


def policies_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.policies"


def read_policies(runtime: Runtime) -> Policies:
    """The policies in force. Raises: NotReady."""
    table = tables.find(runtime.catalog, policies_table(runtime.settings))
    return {} if table is None else policies_of(granted.system(table, runtime.settings))


def policies_of(table: Granted) -> Policies:
    """As `read_policies`, of the table as it was loaded."""
    return {stored.on: stored for stored in _stored(_rows(table))}


def has_policy(runtime: Runtime, view: str) -> bool:
    """Whether anything of a view is hidden from anybody. Raises: NotReady."""
    stored = find_policy(read_policies(runtime), Securable(Kind.VIEW, view))
    return stored is not None and (bool(stored.policy.masks) or stored.policy.rows is not None)


def policy_history(runtime: Runtime, on: Securable) -> list[StoredPolicy]:
    """All policies that an object has ever had, the newest first. Raises: NotReady."""
    table = tables.find(runtime.catalog, policies_table(runtime.settings))
    return [] if table is None else [stored for stored in _stored(_rows(granted.system(table, runtime.settings))) if stored.on == on][::-1]


def list_policies(policies: Policies, with_sql: bool = True) -> list[PolicyInfo]:
    """The rules of all policies, by object."""
    return [info for on in sorted(policies, key=str) for info in policies[on].describe(with_sql)]


def apply_policies(runtime: Runtime, policies: Sequence[TablePolicy], by: str | None) -> None:
    """Record policies, all at once; every server follows within a second. Raises: NotReady."""
    if not policies:
        return
    table = tables.create_if_absent(runtime.catalog, policies_table(runtime.settings), SCHEMA)

    def attempt() -> None:
        rows = _rows(granted.system(table, runtime.settings))
        now = times.moment(times.now())
        # After the last one, also if a clock was ahead: their order is that of their times.
        at = max(now, rows[-1]["at"] + timedelta(microseconds=1)) if rows else now
        added = [
            {
                "on_kind": str(object_of(policy).kind),
                "on_name": object_of(policy).name,
                "policy": json.dumps(documents.document(policy)),
                "by": by,
                "at": at,
            }
            for policy in policies
        ]
        writes.append(table, pa.Table.from_pylist(added, SCHEMA).to_reader(), summary={writes.OPERATION: "policy"})

    def recover(conflict: CommitConflict) -> None:
        nonlocal table
        table = commits.reload(table)

    commits.retry(table.name, attempt, undone="no policy was changed", recover=recover)


def find_policy(policies: Policies, on: Securable) -> StoredPolicy | None:
    """The policy of an object; None if it has none. If there is none of exactly this name, that of the name in another case: some catalogs
    find a table by either.
    """
    stored = policies.get(on)
    if stored is None:
        same = (other for other in policies if other.kind is on.kind and folded(other.name) == folded(on.name))
        stored = policies.get(next(same, on))
    return stored


def in_force(policies: Policies, on: Securable, groups: frozenset[str]) -> RowPolicy:
    """What is in force on an object for members of these groups, who are not administrators. Raises: NotReady."""
    stored = find_policy(policies, on)
    return OPEN if stored is None else stored.in_force(groups)


def _rows(table: Granted) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(table, table.table.snapshot_id).read_all().to_pylist()
    return sorted(rows, key=lambda row: row["at"])


def _stored(rows: Iterable[Mapping[str, Any]]) -> Iterator[StoredPolicy]:
    for row in rows:
        on = Securable(Kind(row["on_kind"]), row["on_name"])
        # Early releases kept the name as it was written, with that of the catalog in front.
        policy = replace(documents.policy(json.loads(row["policy"])), table=on.name)
        yield StoredPolicy(on, policy, row["by"], row["at"])
