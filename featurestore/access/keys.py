"""A registry of keys, such as API keys: an append-only Iceberg table with a row for each key that was created or revoked."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.access.key_registry import API_KEYS, KeyRegistry
from featurestore.access.key_results import ApiKey, CreatedKey
from featurestore.access.key_uses import read_last_uses
from featurestore.access.principal import RESERVED, Principal, check_groups, check_principal_name
from featurestore.access.tokens import make_token
from featurestore.access.voided import valid_time, void_until
from featurestore.dsl import durations
from featurestore.errors import CommitConflict, Conflict, NotFound, RequestError, brief
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.arguments import check_flag, check_text

SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("key", pa.string()),
        ("digest", pa.string()),
        ("name", pa.string()),
        ("groups", pa.string()),
        ("administrator", pa.bool_()),
        ("expires", pa.timestamp("us", tz="UTC")),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each event. `digest` is that of the secret; `groups` is JSON. The row of a revocation has only `key`, `by` and `at`."""
CREATED, REVOKED = "created", "revoked"
LIVE_KEYS = 2
"""Most live keys of a name: the one in use, and the one that takes its place."""
LONGEST = timedelta(days=3660)
"""Longest life of a key."""


@dataclass(frozen=True)
class StoredKey:
    """A key as the registry has it."""

    id: str
    digest: str
    name: str
    groups: tuple[str, ...]
    is_administrator: bool
    created: datetime
    created_by: str | None
    expires: datetime
    revoked: datetime | None = None
    revoked_by: str | None = None

    @property
    def expires_at(self) -> int:
        """The end of its life in microseconds since the epoch, exclusive."""
        return times.micros(self.expires)

    @property
    def principal(self) -> Principal:
        """Who sends requests with it."""
        return Principal(self.name, frozenset(self.groups), self.is_administrator, self.id)

    def is_live(self, now: int) -> bool:
        """Whether it is accepted at this time, in microseconds since the epoch."""
        return self.revoked is None and now < self.expires_at

    def describe(self, now: int, last_used: datetime | None = None) -> ApiKey:
        """The key as it is listed at this time."""
        return ApiKey(
            self.id,
            self.name,
            self.groups,
            self.is_administrator,
            "revoked" if self.revoked is not None else "live" if self.is_live(now) else "expired",
            self.created,
            self.created_by,
            self.expires,
            self.revoked,
            self.revoked_by,
            last_used,
        )


def create_key(
    runtime: Runtime,
    name: str,
    groups: Any = (),
    administrator: bool = False,
    expires: Any = "90d",
    by: str | None = None,
    registry: KeyRegistry = API_KEYS,
) -> CreatedKey:
    """Record a new key, which every server accepts within a second.

    `expires` is how long it lives: a timedelta, or text such as "90d". Raises: RequestError; Conflict if the name has two live keys,
    saying which to revoke; NotReady.
    """
    who = check_principal_name(name, "name")
    if who in RESERVED:
        raise RequestError(f"name={brief(who)} is what a server calls those without a key; choose another name", field="name")
    members, is_administrator, life = check_groups(groups), check_flag(administrator, "administrator"), _life(expires)
    new, now = make_token(registry.prefix), times.now()
    key = StoredKey(new.id, new.digest, who, members, is_administrator, times.moment(now), by, times.moment(now) + life)

    def check(keys: Mapping[str, StoredKey]) -> None:
        live = [other for other in keys.values() if other.name == who and other.is_live(times.now())]
        if len(live) >= LIVE_KEYS:
            oldest = min(live, key=lambda other: other.created)
            raise Conflict(
                f"{who} has {LIVE_KEYS} live keys already, one to use and one to take its place: revoke the older one, {oldest.id}"
                f" (created {times.text(times.micros(oldest.created))}), when nothing uses it any more, and then create the next",
                name=who,
                keys=[other.id for other in live],
            )

    _append(runtime, registry, _creation(key), check)
    return CreatedKey(key.describe(now), new.token)


def revoke_key(runtime: Runtime, id: str, by: str | None = None, registry: KeyRegistry = API_KEYS) -> ApiKey:
    """Record that a key is not accepted any more; every server refuses it within a second.

    A key that is revoked already stays so. Raises: NotFound; NotReady.
    """
    key_id, now = check_text(id, "id"), times.moment(times.now())
    stored = read_keys(runtime, registry)
    if key_id not in stored:
        raise NotFound(registry.noun, key_id, stored)
    key = stored[key_id]
    if key.revoked is None:
        key = replace(key, revoked=now, revoked_by=by)
        _append(runtime, registry, {"event": REVOKED, "key": key_id, "by": by, "at": now}, lambda keys: None)
    return key.describe(times.now())


def list_keys(runtime: Runtime, registry: KeyRegistry = API_KEYS) -> list[ApiKey]:
    """All keys that were ever created, the newest first, with the hour of their last use."""
    now, used = times.now(), read_last_uses(runtime, registry)
    newest_first = sorted(read_keys(runtime, registry).values(), key=lambda key: key.created, reverse=True)
    return [key.describe(now, used.get(key.id)) for key in newest_first]


def read_keys(runtime: Runtime, registry: KeyRegistry = API_KEYS) -> dict[str, StoredKey]:
    """All keys by their ids; empty if none was ever created. Raises: NotReady."""
    table = tables.find(runtime.catalog, registry.keys_table(runtime.settings))
    return {} if table is None else keys_of(granted.system(table, runtime.settings))


def had_keys(runtime: Runtime) -> bool:
    """Whether a key was ever created, also if its rows are lost: then servers ask everybody for credentials. Raises: NotReady."""
    table = tables.find(runtime.catalog, API_KEYS.keys_table(runtime.settings))
    return table is not None and (void_until(table) is not None or bool(keys_of(granted.system(table, runtime.settings))))


def keys_of(log: Granted) -> dict[str, StoredKey]:
    """As `read_keys`, of the table as it was loaded. Those that were created before the registry lost rows are revoked."""
    void = void_until(log.table)
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    keys = {row["key"]: _key(row) for row in rows if row["event"] == CREATED}
    for row in sorted((row for row in rows if row["event"] == REVOKED), key=lambda row: row["at"]):
        key = keys.get(row["key"])
        if key is not None and key.revoked is None:
            keys[key.id] = replace(key, revoked=row["at"], revoked_by=row["by"])
    if void is None:
        return keys
    return {id: replace(key, revoked=void) if key.revoked is None and key.created <= void else key for id, key in keys.items()}


def _append(runtime: Runtime, registry: KeyRegistry, row: dict[str, Any], check: Callable[[Mapping[str, StoredKey]], None]) -> None:
    """Append a row to the state of the registry that `check` accepts."""
    table = tables.create_if_absent(runtime.catalog, registry.keys_table(runtime.settings), SCHEMA)

    def attempt() -> None:
        check(keys_of(granted.system(table, runtime.settings)))
        timely = {**row, "at": valid_time(table, row["at"])}
        writes.append(table, pa.Table.from_pylist([timely], SCHEMA).to_reader(), summary={writes.OPERATION: "key"})

    def recover(conflict: CommitConflict) -> None:
        nonlocal table
        table = commits.reload(table)

    commits.retry(table.name, attempt, undone="no key was created or revoked", recover=recover)


def _life(expires: Any) -> timedelta:
    """How long a key lives. Raises: RequestError."""
    try:
        life = expires if isinstance(expires, timedelta) else timedelta(microseconds=durations.microseconds(expires))
    except (ValueError, OverflowError) as error:
        raise RequestError(f"expires: {error}", field="expires") from error
    if not timedelta() < life <= LONGEST:
        raise RequestError(f"expires={brief(expires)}: a key lives longer than zero, and at most {LONGEST.days} days", field="expires")
    return life


def _creation(key: StoredKey) -> dict[str, Any]:
    return {
        "event": CREATED,
        "key": key.id,
        "digest": key.digest,
        "name": key.name,
        "groups": json.dumps(key.groups),
        "administrator": key.is_administrator,
        "expires": key.expires,
        "by": key.created_by,
        "at": key.created,
    }


def _key(row: Mapping[str, Any]) -> StoredKey:
    groups = tuple(json.loads(row["groups"]))
    return StoredKey(row["key"], row["digest"], row["name"], groups, row["administrator"], row["at"], row["by"], row["expires"])
