"""The log of erasures: an append-only Iceberg table with a row when one begins and one when it is done; keys are in it only as digests."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("entity", pa.string()),
        ("key_digest", pa.string()),
        ("state", pa.string()),
        ("certificate", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Two rows for each erasure. `certificate` is JSON: what was erased, and what was not."""
BEGUN, DONE = "begun", "done"


@dataclass(frozen=True)
class RecordedErasure:
    """The newest row of an erasure; `at` is when it came to its state."""

    number: int
    entity: str
    key_digest: str
    state: str
    certificate: Mapping[str, Any]
    by: str | None
    at: datetime


class ErasureLog:
    """The log as it was read last; a number is given once."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._table = tables.create_if_absent(runtime.catalog, log_name(runtime), SCHEMA)
        self._erasures = self._read()

    def begin(self, entity: str, key_digest: str, by: str | None, at: datetime) -> RecordedErasure:
        """Record a new erasure; or the one of the same key that was begun and not finished, which goes on."""

        def make() -> RecordedErasure:
            for erasure in self._erasures.values():
                if (erasure.entity, erasure.key_digest, erasure.state) == (entity, key_digest, BEGUN):
                    return erasure
            return RecordedErasure(max(self._erasures, default=0) + 1, entity, key_digest, BEGUN, {}, by, at)

        return self._append(make)

    def finish(self, erasure: RecordedErasure, certificate: Mapping[str, Any], at: datetime) -> RecordedErasure:
        """Record that an erasure is done."""
        return self._append(lambda: replace(erasure, state=DONE, certificate=certificate, at=at))

    def _read(self) -> dict[int, RecordedErasure]:
        return _read(granted.system(self._table, self._settings))

    def _append(self, make: Any) -> RecordedErasure:
        def attempt() -> RecordedErasure:
            erasure: RecordedErasure = make()
            if erasure == self._erasures.get(erasure.number):
                return erasure
            names = ("number", "entity", "key_digest", "state", "by", "at")
            row = {**{name: getattr(erasure, name) for name in names}, "certificate": json.dumps(erasure.certificate)}
            writes.append(self._table, pa.Table.from_pylist([row], SCHEMA).to_reader(), summary={writes.OPERATION: "erase"})
            self._erasures[erasure.number] = erasure
            return erasure

        def recover(conflict: CommitConflict) -> None:
            self._table = commits.reload(self._table)
            self._erasures = self._read()

        return commits.retry(self._table.name, attempt, undone="the erasure was not recorded", recover=recover)


def read_erasures(runtime: Runtime) -> list[RecordedErasure]:
    """Every erasure, newest first; nothing is written."""
    table = tables.find(runtime.catalog, log_name(runtime))
    found = {} if table is None else _read(granted.system(table, runtime.settings))
    return sorted(found.values(), key=lambda erasure: erasure.number, reverse=True)


def digest_of_key(entity: str, values: Mapping[str, Any]) -> str:
    """The SHA-256 of an entity and the values of its key columns."""
    return hashlib.sha256(json.dumps([entity, sorted((name, str(value)) for name, value in values.items())]).encode()).hexdigest()


def log_name(runtime: Runtime) -> str:
    """The log's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.erasures"


def _read(log: Granted) -> dict[int, RecordedErasure]:
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    newest: dict[int, RecordedErasure] = {}
    for row in sorted(rows, key=lambda row: (row["number"], row["state"] == DONE)):
        fields = {name: row[name] for name in ("number", "entity", "key_digest", "state", "by", "at")}
        newest[row["number"]] = RecordedErasure(**fields, certificate=json.loads(row["certificate"]))
    return newest
