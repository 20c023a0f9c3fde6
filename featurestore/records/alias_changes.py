"""Changes of aliases in the audit trail: recorded first, by compare-and-swap, and pending until MLflow has them."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import commits, granted, tables, writes
from featurestore.lakehouse.table import Table
from featurestore.records import model_events
from featurestore.records.model_events import Event
from featurestore.records.runtime import Runtime
from featurestore.values import times

PENDING = "featurestore.pending-alias."
"""The prefix of table properties that mark aliases as recorded, while MLflow is told; the rest is a digest of model and alias."""
PENDING_SECONDS = 60
"""Older marks are left over from processes that ended in between."""


class AliasRecord:
    """The audit trail as it was read before a change of an alias, to be appended to only if nobody changed the alias since."""

    def __init__(self, runtime: Runtime, model: str, alias: str) -> None:
        """Raises: Conflict if another change of the alias is being made."""
        self._runtime, self._model, self._alias = runtime, model, alias
        self._table = model_events.open_table(runtime.catalog, runtime.settings)
        _refuse_pending(self._table, model, alias)
        self.events = self._changes()

    def append(self, event: Event) -> None:
        """Record a change and mark it as pending, in one commit. Raises: CommitConflict naming the change that came first."""
        rows = model_events.to_rows([event])
        mark = {_property(self._model, self._alias): json.dumps({"at": times.now(), "version": event.version, "approver": event.approver})}
        summary = {writes.OPERATION: "model"}

        def attempt() -> int | None:
            batches = pa.Table.from_pylist(rows, model_events.SCHEMA).to_reader()
            return writes.append(self._table, batches, summary=summary, properties=mark)

        def recover(conflict: CommitConflict) -> None:
            self._table = commits.reload(self._table)
            _refuse_pending(self._table, self._model, self._alias)
            changes = self._changes()
            if len(changes) > len(self.events):
                raise CommitConflict(
                    f"Nothing was changed: {_describe(changes[0])} first. Check the current state and retry.", model=self._model
                )

        commits.retry(self._table.name, attempt, undone="nothing was changed", recover=recover)

    def settle(self) -> None:
        """Remove the mark: MLflow has the change, or has refused it."""
        # A mark that stays is ignored after a while.
        with suppress(CommitConflict):
            tables.set_properties(commits.reload(self._table), {}, [_property(self._model, self._alias)])

    def _changes(self) -> list[Mapping[str, Any]]:
        """The events of the alias in the table as it was loaded, newest first."""
        events = model_events.events_of(granted.system(self._table, self._runtime.settings))
        return [event for event in events if event["model"] == self._model and event["alias"] == self._alias]


@dataclass(frozen=True)
class Trail:
    """The audit trail at one moment: its events, newest first, and the marks of aliases that are being changed."""

    snapshot_id: int | None
    events: list[dict[str, Any]]
    pending: frozenset[str]


def read_trail(runtime: Runtime, before: Trail | None = None) -> Trail:
    """Read the audit trail; it is empty if no model was ever logged. Its events are those of `before` if no commit has added any since."""
    table = tables.find(runtime.catalog, model_events.model_events_table(runtime.settings))
    if table is None:
        return Trail(None, [], frozenset())
    same = before is not None and before.snapshot_id == table.snapshot_id
    events = before.events if before is not None and same else model_events.events_of(granted.system(table, runtime.settings))
    return Trail(table.snapshot_id, events, _pending(table))


def mark_of(event: Event) -> str | None:
    """The mark of the alias, or of the version's stage, that an event changes; None for other events."""
    if event.event == "stage set":
        return _property(event.model, stage_subject(str(event.version)))
    return None if event.alias is None else _property(event.model, event.alias)


def stage_subject(version: str) -> str:
    """What an `AliasRecord` takes for an alias when the stage of a version is changed."""
    return f"version {version}"


def _pending(table: Table) -> frozenset[str]:
    now = times.now()
    marks = {name: json.loads(value)["at"] for name, value in table.properties.items() if name.startswith(PENDING)}
    return frozenset(name for name, at in marks.items() if now - at < PENDING_SECONDS * 1_000_000)


def _refuse_pending(table: Table, model: str, alias: str) -> None:
    name = _property(model, alias)
    if name in _pending(table):
        mark = json.loads(table.properties[name])
        raise Conflict(
            f"the alias '{alias}' of model {model} is being changed by {mark['approver']} (to version {mark['version'] or 'none'}); nothing"
            " was changed, try again in a minute",
            model=model,
            alias=alias,
        )


def _property(model: str, alias: str) -> str:
    return PENDING + hashlib.sha256(json.dumps([model, alias]).encode()).hexdigest()[:32]


def _describe(event: Mapping[str, Any]) -> str:
    who = event["approver"] or "somebody"
    what = "was removed" if event["event"] == "alias removed" else f"was set to version {event['version']}"
    return f"the alias '{event['alias']}' of model {event['model']} {what} by {who} at {event['at']}"
