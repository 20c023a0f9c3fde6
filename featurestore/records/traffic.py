"""The splits of traffic: an append-only Iceberg table with a row for each change, and its current rows in the memory of a server."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.records.runtime import Runtime
from featurestore.records.traffic_split import TrafficSplit
from featurestore.settings import Settings
from featurestore.values import times

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("places", pa.string()),
        ("shadow", pa.string()),
        ("keys", pa.string()),
        ("versions", pa.string()),
        ("approver", pa.string()),
        ("reason", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
"""A row for each change of a model's split. `places`, `shadow`, `keys` and `versions` are JSON; no places: the split was removed."""


@dataclass(frozen=True)
class TrafficChange:
    """A change of a split: who made it, why and when. `split` has no places if it was removed."""

    split: TrafficSplit
    approver: str | None
    reason: str | None
    at: datetime


def traffic_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.traffic"


def read_changes(runtime: Runtime, model: str) -> list[TrafficChange]:
    """The changes of a model's split, the newest first."""
    table = tables.find(runtime.catalog, traffic_table(runtime.settings))
    return [] if table is None else [change for change in _changes(granted.system(table, runtime.settings)) if change.split.model == model]


class TrafficRecord:
    """The changes of a model's split as they were read before another one, which is appended only if nobody changed it since."""

    def __init__(self, runtime: Runtime, model: str) -> None:
        self._model, self._settings = model, runtime.settings
        self._table = tables.create_if_absent(runtime.catalog, traffic_table(runtime.settings), SCHEMA)
        self.changes = self._of_model()

    @property
    def current(self) -> TrafficSplit | None:
        """The split in force; None if there is none."""
        return self.changes[0].split if self.changes and self.changes[0].split.places else None

    def append(self, change: TrafficChange) -> None:
        """Record a change. Raises: CommitConflict naming the change that came first."""
        row = _row(change)

        def attempt() -> int | None:
            batches = pa.Table.from_pylist([row], SCHEMA).to_reader()
            return writes.append(self._table, batches, summary={writes.OPERATION: "traffic"})

        def recover(conflict: CommitConflict) -> None:
            self._table = commits.reload(self._table)
            changes = self._of_model()
            if len(changes) > len(self.changes):
                raise CommitConflict(
                    f"Nothing was changed: {_describe_change(changes[0])} first. Check the current state and retry.", model=self._model
                )

        commits.retry(self._table.name, attempt, undone="nothing was changed", recover=recover)
        self.changes = [change, *self.changes]

    def _of_model(self) -> list[TrafficChange]:
        return [change for change in _changes(granted.system(self._table, self._settings)) if change.split.model == self._model]


class TrafficSplits:
    """The splits in force, in memory. `refresh` looks at the table's pointer in the catalog, and reads it again only if that moved."""

    def __init__(self, runtime: Runtime, prepare: Callable[[str], None] = lambda model: None) -> None:
        """`prepare` is called with each model whose split has changed, before that is used."""
        self._runtime, self._prepare = runtime, prepare
        self._lock = threading.Lock()
        self._read_at: str | None = ""
        self._splits: Mapping[str, TrafficSplit] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the table was ever read."""
        return self._splits is not None

    def of(self, model: str) -> TrafficSplit | None:
        """The split of a model; None if it has none, or the table was not read yet."""
        return None if self._splits is None else self._splits.get(model)

    def in_force(self) -> list[TrafficSplit]:
        """The splits of all models, as they were last read."""
        return [] if self._splits is None else list(self._splits.values())

    def refresh(self) -> list[str]:
        """Read what has changed; returns the models whose splits did. Raises: NotReady."""
        with self._lock:
            runtime = self._runtime
            identifier = traffic_table(runtime.settings)
            pointer = tables.pointer(runtime.catalog, identifier)
            if pointer == self._read_at and self._splits is not None:
                return []
            table = None if pointer is None else tables.find(runtime.catalog, identifier)
            before, splits = self._splits or {}, {} if table is None else _in_force(_changes(granted.system(table, runtime.settings)))
            changed = sorted(name for name in {*before, *splits} if before.get(name) != splits.get(name))
            for name in changed:
                self._prepare(name)
            self._splits = splits
            self._read_at = None if table is None else table.metadata_location
            return changed


def _in_force(changes: Iterable[TrafficChange]) -> dict[str, TrafficSplit]:
    newest: dict[str, TrafficSplit] = {}
    for change in changes:
        newest.setdefault(change.split.model, change.split)
    return {model: split for model, split in newest.items() if split.places}


def _changes(log: Granted) -> list[TrafficChange]:
    """All changes in the table as it was loaded, the newest first."""
    rows: Sequence[Mapping[str, Any]] = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    return sorted(map(_change, rows), key=lambda change: change.at, reverse=True)


def _change(row: Mapping[str, Any]) -> TrafficChange:
    keys = tuple((name, sql_type) for name, sql_type in json.loads(row["keys"]))
    split = TrafficSplit(row["model"], json.loads(row["places"]), tuple(json.loads(row["shadow"])), keys, json.loads(row["versions"]))
    return TrafficChange(split, row["approver"], row["reason"], row["at"])


def _row(change: TrafficChange) -> dict[str, Any]:
    split = change.split
    texts = {"places": split.places, "shadow": split.shadow, "keys": split.keys, "versions": split.versions}
    documents = {name: json.dumps(value) for name, value in texts.items()}
    return {"model": split.model, **documents, "approver": change.approver, "reason": change.reason, "at": change.at}


def _describe_change(change: TrafficChange) -> str:
    what = ", ".join(f"{alias}={weight:g}" for alias, weight in change.split.weights.items())
    done = f"was set to {what}" if what else "was removed"
    return f"the split of model {change.split.model} {done} by {change.approver or 'somebody'} at {times.text(times.micros(change.at))}"
