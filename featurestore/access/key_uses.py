"""When API keys were last used: an append-only Iceberg table with at most a row for each key and hour from each server process."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.access.key_registry import API_KEYS, KeyRegistry
from featurestore.lakehouse import granted, scans, tables, writes
from featurestore.records.runtime import Runtime
from featurestore.values import times

SCHEMA = pa.schema([("key", pa.string()), ("used", pa.timestamp("us", tz="UTC"))])
HOUR = 3_600_000_000
"""An hour in microseconds."""


def read_last_uses(runtime: Runtime, registry: KeyRegistry = API_KEYS) -> dict[str, datetime]:
    """The last recorded use of each key that was used."""
    table = tables.find(runtime.catalog, registry.uses_table(runtime.settings))
    if table is None:
        return {}
    rows: Sequence[Mapping[str, Any]] = (
        scans.read_snapshot(granted.system(table, runtime.settings), table.snapshot_id).read_all().to_pylist()
    )
    last: dict[str, datetime] = {}
    for row in rows:
        last[row["key"]] = max(row["used"], last.get(row["key"], row["used"]))
    return last


class KeyUses:
    """The uses that a server process has not recorded yet. `note` is called for each request and only writes to memory."""

    def __init__(self, runtime: Runtime, registry: KeyRegistry = API_KEYS) -> None:
        self._runtime, self._registry = runtime, registry
        self._lock = threading.Lock()
        self._noted: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    def note(self, key: str, now: int) -> None:
        """Note a use at this time, in microseconds since the epoch; another one in the same hour changes nothing."""
        if now - self._noted.get(key, -HOUR) >= HOUR:
            with self._lock:
                self._noted[key] = self._pending[key] = now

    def record(self) -> None:
        """Append what is noted, in one commit; concurrent writers do not conflict. Raises: NotReady; then it stays noted."""
        with self._lock:
            pending = dict(self._pending)
        if not pending:
            return
        table = tables.create_if_absent(self._runtime.catalog, self._registry.uses_table(self._runtime.settings), SCHEMA)
        rows = [{"key": key, "used": times.moment(used)} for key, used in pending.items()]
        writes.append_retrying(table, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={writes.OPERATION: "key uses"})
        with self._lock:
            self._pending = {key: used for key, used in self._pending.items() if pending.get(key) != used}
