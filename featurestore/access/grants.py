"""The registry of grants: an append-only Iceberg table with a row for each grant and revocation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.access.grant_results import GrantInfo
from featurestore.access.privileges import (
    Grantee,
    GranteeKind,
    Kind,
    Privilege,
    Securable,
    parse_grantee,
    parse_privilege,
    parse_securable,
)
from featurestore.access.voided import valid_time, void_until
from featurestore.errors import CommitConflict, NotFound
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values import times

SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("privilege", pa.string()),
        ("on_kind", pa.string()),
        ("on_name", pa.string()),
        ("to_kind", pa.string()),
        ("to_name", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each event; the last one of a privilege, object and grantee holds."""
GRANTED, REVOKED = "granted", "revoked"


@dataclass(frozen=True)
class Grant:
    """A privilege on an object, of a user or a group."""

    privilege: Privilege
    on: Securable
    to: Grantee

    @classmethod
    def parse(cls, privilege: Any, on: Any, to: Any, catalog: str) -> "Grant":
        """The grant of texts such as "READ", "VIEW customer_orders" and "GROUP analysts"; `catalog` is what the catalog is called.

        Raises: RequestError naming the argument.
        """
        return cls(parse_privilege(privilege), parse_securable(on, catalog), parse_grantee(to))


@dataclass(frozen=True)
class GrantRecord:
    """A grant in force, with who granted it and when."""

    grant: Grant
    by: str | None
    at: datetime

    def describe(self) -> GrantInfo:
        """The grant as it is listed."""
        return GrantInfo(str(self.grant.privilege), str(self.grant.on), str(self.grant.to), self.at, self.by)


Event = tuple[str, Grant]
"""GRANTED or REVOKED, and what."""


def grants_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.grants"


def add_grant(runtime: Runtime, grant: Grant, by: str | None) -> GrantRecord:
    """Record a grant, which every server follows within a second; one that is in force already is not recorded again. Raises: NotReady."""
    return add_grants(runtime, [grant], by)[0]


def add_grants(runtime: Runtime, grants: Sequence[Grant], by: str | None) -> list[GrantRecord]:
    """As `add_grant`, for several grants in one commit; an object has one owner, and the one before it is none any more."""
    held: dict[Grant, GrantRecord] = {}

    def decide(records: Mapping[Grant, GrantRecord]) -> list[Event]:
        held.clear()
        held.update({grant: records[grant] for grant in grants if grant in records})
        owners = {grant.on: grant for grant in grants if grant.privilege is Privilege.OWN}
        new = [
            grant
            for grant in dict.fromkeys(grants)
            if grant not in records and (grant.privilege is not Privilege.OWN or owners[grant.on] == grant)
        ]
        before = [other for other in records if other.privilege is Privilege.OWN and owners.get(other.on, other) != other]
        return [*((GRANTED, grant) for grant in new), *((REVOKED, other) for other in before)]

    at = _change(runtime, by, decide)
    return [held.get(grant) or GrantRecord(grant, by, at) for grant in grants]


def remove_grant(runtime: Runtime, grant: Grant, by: str | None) -> GrantRecord:
    """Record that a grant is revoked, and return it as it was. Raises: NotFound if it is not in force; NotReady."""
    before: list[GrantRecord] = []

    def decide(records: Mapping[Grant, GrantRecord]) -> list[Event]:
        if grant not in records:
            known = [f"{other.privilege} to {other.to}" for other in records if other.on == grant.on]
            raise NotFound("grant", f"{grant.privilege} to {grant.to}", known, f"those on {grant.on}")
        before[:] = [records[grant]]
        return [(REVOKED, grant)]

    _change(runtime, by, decide)
    return before[0]


def revoke_all(runtime: Runtime, on: Securable, by: str | None) -> None:
    """Revoke all grants on an object that was removed, so that another one of its name is nobody's. Raises: NotReady."""
    if any(grant.on == on for grant in read_grants(runtime)):
        _change(runtime, by, lambda records: [(REVOKED, grant) for grant in records if grant.on == on])


def read_grants(runtime: Runtime) -> dict[Grant, GrantRecord]:
    """The grants in force, the oldest first. Raises: NotReady."""
    table = tables.find(runtime.catalog, grants_table(runtime.settings))
    return {} if table is None else grants_of(granted.system(table, runtime.settings), runtime.settings.catalog_name)


def grants_of(log: Granted, catalog: str) -> dict[Grant, GrantRecord]:
    """As `read_grants`, of the table as it was loaded; `catalog` is what the catalog is called now, whatever it was when it was granted."""
    return _in_force(_rows(log), catalog)


def _row(event: str, grant: Grant, by: str | None, at: datetime) -> dict[str, Any]:
    return {
        "event": event,
        "privilege": str(grant.privilege),
        "on_kind": str(grant.on.kind),
        "on_name": grant.on.name,
        "to_kind": str(grant.to.kind),
        "to_name": grant.to.name,
        "by": by,
        "at": at,
    }


def _rows(log: Granted) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    void = void_until(log.table)
    return sorted((row for row in rows if void is None or row["at"] > void), key=lambda row: row["at"])


def _in_force(rows: Iterable[Mapping[str, Any]], catalog: str) -> dict[Grant, GrantRecord]:
    records: dict[Grant, GrantRecord] = {}
    for row in rows:
        kind = Kind(row["on_kind"])
        on = Securable(kind, catalog if kind is Kind.CATALOG else row["on_name"])
        grant = Grant(Privilege(row["privilege"]), on, Grantee(GranteeKind(row["to_kind"]), row["to_name"]))
        records.pop(grant, None)
        if row["event"] == GRANTED:
            records[grant] = GrantRecord(grant, row["by"], row["at"])
    return records


def _change(runtime: Runtime, by: str | None, decide: Callable[[Mapping[Grant, GrantRecord]], Sequence[Event]]) -> datetime:
    """Append the events that `decide` makes of the grants in force, if there are any, in one commit; their time."""
    table = tables.create_if_absent(runtime.catalog, grants_table(runtime.settings), SCHEMA)
    now = times.moment(times.now())

    def attempt() -> datetime:
        rows = _rows(granted.system(table, runtime.settings))
        events = decide(_in_force(rows, runtime.settings.catalog_name))
        # After the last event, also if a clock was ahead: their order is that of their times.
        at = max(now, rows[-1]["at"] + timedelta(microseconds=1)) if rows else valid_time(table, now)
        if events:
            added = [_row(event, grant, by, at) for event, grant in events]
            writes.append(table, pa.Table.from_pylist(added, SCHEMA).to_reader(), summary={writes.OPERATION: "grant"})
        return at

    def recover(conflict: CommitConflict) -> None:
        nonlocal table
        table = commits.reload(table)

    return commits.retry(table.name, attempt, undone="no grant was changed", recover=recover)
