"""The registry of grants: an append-only Iceberg table with a row for each grant and revocation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from featurestore.settings import CATALOG_NAME, Settings
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
    def parse(cls, privilege: Any, on: Any, to: Any) -> "Grant":
        """The grant of texts such as "READ", "VIEW customer_orders" and "GROUP analysts". Raises: RequestError naming the argument."""
        return cls(parse_privilege(privilege), parse_securable(on, CATALOG_NAME), parse_grantee(to))


@dataclass(frozen=True)
class GrantRecord:
    """A grant in force, with who granted it and when."""

    grant: Grant
    by: str | None
    at: datetime

    def describe(self) -> GrantInfo:
        """The grant as it is listed."""
        return GrantInfo(str(self.grant.privilege), str(self.grant.on), str(self.grant.to), self.at, self.by)


def grants_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.grants"


def add_grant(runtime: Runtime, grant: Grant, by: str | None) -> GrantRecord:
    """Record a grant, which every server follows within a second; one that is in force already is not recorded again. Raises: NotReady."""

    return _change(runtime, GrantRecord(grant, by, times.moment(times.now())), GRANTED, lambda records: records.get(grant))


def remove_grant(runtime: Runtime, grant: Grant, by: str | None) -> GrantRecord:
    """Record that a grant is revoked, and return it as it was. Raises: NotFound if it is not in force; NotReady."""
    before: list[GrantRecord] = []

    def check(records: Mapping[Grant, GrantRecord]) -> None:
        if grant not in records:
            known = [f"{other.privilege} to {other.to}" for other in records if other.on == grant.on]
            raise NotFound("grant", f"{grant.privilege} to {grant.to}", known, f"those on {grant.on}")
        before[:] = [records[grant]]

    _change(runtime, GrantRecord(grant, by, times.moment(times.now())), REVOKED, check)
    return before[0]


def read_grants(runtime: Runtime) -> dict[Grant, GrantRecord]:
    """The grants in force, the oldest first. Raises: NotReady."""
    table = tables.find(runtime.catalog, grants_table(runtime.settings))
    return {} if table is None else grants_of(granted.system(table, runtime.settings))


def grants_of(log: Granted) -> dict[Grant, GrantRecord]:
    """As `read_grants`, of the table as it was loaded."""
    return _in_force(_rows(log))


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


def _in_force(rows: Iterable[Mapping[str, Any]]) -> dict[Grant, GrantRecord]:
    records: dict[Grant, GrantRecord] = {}
    for row in rows:
        on = Securable(Kind(row["on_kind"]), row["on_name"])
        grant = Grant(Privilege(row["privilege"]), on, Grantee(GranteeKind(row["to_kind"]), row["to_name"]))
        records.pop(grant, None)
        if row["event"] == GRANTED:
            records[grant] = GrantRecord(grant, row["by"], row["at"])
    return records


def _change(
    runtime: Runtime, record: GrantRecord, event: str, find: Callable[[Mapping[Grant, GrantRecord]], GrantRecord | None]
) -> GrantRecord:
    """Append an event. `find` is called with the grants in force; nothing is appended if it returns one, which is returned then."""
    table = tables.create_if_absent(runtime.catalog, grants_table(runtime.settings), SCHEMA)
    grant = record.grant

    def attempt() -> GrantRecord:
        rows = _rows(granted.system(table, runtime.settings))
        existing = find(_in_force(rows))
        if existing is not None:
            return existing
        # After the last event, also if a clock was ahead: their order is that of their times.
        at = max(record.at, rows[-1]["at"] + timedelta(microseconds=1)) if rows else valid_time(table, record.at)
        changed = [_row(event, grant, record.by, at)]
        if event == GRANTED and grant.privilege is Privilege.OWN:
            # The owner before is none any more.
            owners = [other for other in _in_force(rows) if other.privilege is Privilege.OWN and other.on == grant.on]
            changed += [_row(REVOKED, other, record.by, at) for other in owners]
        writes.append(table, pa.Table.from_pylist(changed, SCHEMA).to_reader(), summary={writes.OPERATION: "grant"})
        return replace(record, at=at)

    def recover(conflict: CommitConflict) -> None:
        nonlocal table
        table = commits.reload(table)

    return commits.retry(table.name, attempt, undone="no grant was changed", recover=recover)
