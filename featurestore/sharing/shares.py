"""The registry of shares and recipients: an append-only Iceberg table with a row for each change."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.access.voided import valid_time, void_until
from featurestore.errors import CommitConflict, NotFound
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.sharing.shared_object import SharedKind, SharedObject
from featurestore.values import times

SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("share", pa.string()),
        ("schema_name", pa.string()),
        ("table_name", pa.string()),
        ("on_kind", pa.string()),
        ("on_name", pa.string()),
        ("recipient", pa.string()),
        ("shares", pa.string()),
        ("groups", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each event, with the columns that it needs; `shares` and `groups` are JSON."""
SHARE_CREATED, SHARE_REMOVED = "share created", "share removed"
TABLE_ADDED, TABLE_REMOVED = "table added", "table removed"
RECIPIENT_SET, RECIPIENT_REVOKED = "recipient set", "recipient revoked"


@dataclass(frozen=True)
class SharedTable:
    """An object in a share, with the names by which recipients know it."""

    share: str
    schema: str
    name: str
    on: SharedObject
    by: str | None
    at: datetime


@dataclass(frozen=True)
class Share:
    """A share with its tables by schema and name."""

    name: str
    by: str | None
    at: datetime
    tables: Mapping[tuple[str, str], SharedTable] = field(default_factory=dict)

    def schemas(self) -> list[str]:
        """The names of its schemas, sorted."""
        return sorted({schema for schema, _ in self.tables})


@dataclass(frozen=True)
class Recipient:
    """Who reads shares. `by` and `at` are those of its creation."""

    name: str
    shares: tuple[str, ...]
    groups: tuple[str, ...]
    by: str | None
    at: datetime
    revoked: bool = False


@dataclass(frozen=True)
class Sharing:
    """All shares and recipients by name; also revoked recipients."""

    shares: Mapping[str, Share] = field(default_factory=dict)
    recipients: Mapping[str, Recipient] = field(default_factory=dict)

    def share(self, name: str) -> Share:
        """A share. Raises: NotFound with the nearest names."""
        if name not in self.shares:
            raise NotFound("share", name, self.shares)
        return self.shares[name]

    def recipient(self, name: str) -> Recipient:
        """A recipient that is not revoked. Raises: NotFound with the nearest names."""
        live = {other for other, recipient in self.recipients.items() if not recipient.revoked}
        if name not in live:
            raise NotFound("recipient", name, live)
        return self.recipients[name]

    def readers(self, share: str) -> list[str]:
        """The names of the recipients of a share, sorted."""
        return sorted(recipient.name for recipient in self.recipients.values() if share in recipient.shares and not recipient.revoked)


def shares_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.shares"


def read_sharing(runtime: Runtime) -> Sharing:
    """All shares and recipients. Raises: NotReady."""
    table = tables.find(runtime.catalog, shares_table(runtime.settings))
    return Sharing() if table is None else sharing_of(granted.system(table, runtime.settings))


def sharing_of(log: Granted) -> Sharing:
    """As `read_sharing`, of the table as it was loaded."""
    return _in_force(_rows(log))


def append_event(runtime: Runtime, event: str, check: Callable[[Sharing], Mapping[str, Any]]) -> Sharing:
    """Append an event of the runtime's author, and return what is in force after it. `check` is called with what is in force, and
    returns the event's columns.

    Raises: what `check` raises; then nothing is appended. NotReady.
    """
    table = tables.create_if_absent(runtime.catalog, shares_table(runtime.settings), SCHEMA)

    def attempt() -> Sharing:
        rows = _rows(granted.system(table, runtime.settings))
        columns = check(_in_force(rows))
        # After the last event, also if a clock was ahead: their order is that of their times.
        now = times.moment(times.now())
        at = max(now, rows[-1]["at"] + timedelta(microseconds=1)) if rows else now
        row = {**dict.fromkeys(SCHEMA.names), **columns, "event": event, "by": runtime.author or None, "at": valid_time(table, at)}
        writes.append(table, pa.Table.from_pylist([row], SCHEMA).to_reader(), summary={writes.OPERATION: "share"})
        return _in_force([*rows, row])

    def recover(conflict: CommitConflict) -> None:
        nonlocal table
        table = commits.reload(table)

    return commits.retry(table.name, attempt, undone="no share or recipient was changed", recover=recover)


def _rows(log: Granted) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    void = void_until(log.table)
    return sorted((row for row in rows if void is None or row["at"] > void), key=lambda row: row["at"])


def _in_force(rows: Iterable[Mapping[str, Any]]) -> Sharing:
    shares: dict[str, Share] = {}
    recipients: dict[str, Recipient] = {}
    for row in rows:
        event, name, by, at = row["event"], row["share"], row["by"], row["at"]
        if event == SHARE_CREATED:
            shares[name] = Share(name, by, at)
        elif event == SHARE_REMOVED:
            shares.pop(name, None)
            # Nobody's any more, also if another share gets its name.
            recipients = {
                who: replace(one, shares=tuple(other for other in one.shares if other != name)) for who, one in recipients.items()
            }
        elif event in (TABLE_ADDED, TABLE_REMOVED) and name in shares:
            entries = {key: entry for key, entry in shares[name].tables.items() if key != (row["schema_name"], row["table_name"])}
            if event == TABLE_ADDED:
                on = SharedObject(SharedKind(row["on_kind"]), row["on_name"])
                entry = SharedTable(name, row["schema_name"], row["table_name"], on, by, at)
                entries[entry.schema, entry.name] = entry
            shares[name] = replace(shares[name], tables=entries)
        elif event == RECIPIENT_SET:
            before = recipients.get(row["recipient"])
            created = (by, at) if before is None or before.revoked else (before.by, before.at)
            recipients[row["recipient"]] = Recipient(
                row["recipient"], tuple(json.loads(row["shares"])), tuple(json.loads(row["groups"])), *created
            )
        elif event == RECIPIENT_REVOKED and row["recipient"] in recipients:
            recipients[row["recipient"]] = replace(recipients[row["recipient"]], revoked=True)
    return Sharing(shares, recipients)
