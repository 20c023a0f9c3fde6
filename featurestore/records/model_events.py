"""The audit trail of models: an append-only Iceberg table with a row for each event of a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.lakehouse import granted, scans, tables, writes
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.values import times

if TYPE_CHECKING:
    from featurestore.lakehouse.catalog import Catalog

SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("model_id", pa.string()),
        ("run_id", pa.string()),
        ("training_set", pa.string()),
        ("snapshots", pa.string()),
        ("metrics", pa.string()),
        ("alias", pa.string()),
        ("approver", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("stage", pa.string()),
        ("origin", pa.string()),
        ("reason", pa.string()),
        ("details", pa.string()),
    ]
)
MLFLOW = "featurestore.mlflow"
"""The table property with the address of MLflow."""
LATER = ("stage", "origin", "reason", "details")
"""Columns that tables of earlier releases lack until their next event."""
OURS, ELSEWHERE = "featurestore", "mlflow"
"""The origins of events: our own functions, or MLflow's, whose events are recorded when they are found."""


@dataclass(frozen=True)
class Event:
    """An event of a model: logged, registered, attached, metrics logged, deleted, alias set, alias removed or stage set.

    `model` is the registered name, or the logged name of a model that is not registered; `version` is None for the latter.
    `snapshots` maps feature tables to snapshots, None for an empty table. `origin` is ELSEWHERE for what was done through MLflow itself:
    then nobody is recorded as the approver, and the time is that at which it was found. `details` are those of a promotion, a demotion, a
    rollback or an archiving (`action`): the version before, and the requirement with the values of its metrics.
    """

    event: str
    model: str
    version: str | None
    model_id: str | None
    run_id: str | None
    training_set: str
    snapshots: Mapping[str, int | None]
    metrics: Mapping[str, float] = field(default_factory=dict)
    alias: str | None = None
    approver: str | None = None
    stage: str | None = None
    origin: str = OURS
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def of(self, event: str, model: str, version: str | None) -> "Event":
        """The same model's event under a registered name."""
        return replace(self, event=event, model=model, version=version)


def model_events_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.models"


def record_events(catalog: "Catalog", settings: Settings, events: Sequence[Event], once: str | None = None) -> None:
    """Append events, with the current time, in one commit; concurrent writers do not conflict.

    `once` is an id of these events: nothing is appended if they were recorded with it before.
    """
    rows = to_rows(events)
    table = open_table(catalog, settings)
    writes.append_retrying(table, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={writes.OPERATION: "model"}, once=once)


def logged_to(catalog: "Catalog", settings: Settings) -> str | None:
    """The address of the MLflow to which a model of this catalog was last logged, without passwords; None if none was."""
    table = tables.find(catalog, model_events_table(settings))
    return None if table is None else table.properties.get(MLFLOW)


def record_mlflow(catalog: "Catalog", settings: Settings, address: str) -> None:
    """Record the address, without passwords, of the MLflow to which a model was logged: other machines find the catalog, not the home."""
    table = open_table(catalog, settings)
    if table.properties.get(MLFLOW) != address:
        tables.set_properties(table, {MLFLOW: address})


def open_table(catalog: "Catalog", settings: Settings) -> Table:
    """The table of events with all its columns; it is created if there is none."""
    table = tables.create_if_absent(catalog, model_events_table(settings), SCHEMA)
    tables.add_missing_columns(table, [SCHEMA.field(name) for name in LATER])
    return table


def to_rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The rows of events that happen now, a microsecond apart, to keep their order."""
    now = times.now()
    texts = ("metrics", "details")
    return [
        {
            **vars(event),
            "snapshots": _texts(event.snapshots),
            **{name: json.dumps(dict(getattr(event, name))) for name in texts},
            "at": now + number,
        }
        for number, event in enumerate(events)
    ]


def list_events(runtime: Runtime) -> list[dict[str, Any]]:
    """All events, newest first, as JSON values: times as RFC 3339, snapshot ids as text."""
    table = tables.find(runtime.catalog, model_events_table(runtime.settings))
    return [] if table is None else events_of(granted.system(table, runtime.settings))


def events_of(log: Granted) -> list[dict[str, Any]]:
    """As `list_events`, of a table as it was loaded."""
    records = scans.read_snapshot(log, log.table.snapshot_id).read_all().to_pylist()
    # Early releases gave the events of one commit the same time: logged before registered.
    rows = sorted(records, key=lambda row: (row["at"], row["version"] is not None, row["version"] or "", row["event"]), reverse=True)
    return [_event(row) for row in rows]


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: json.loads(row.get(name) or "{}") for name in ("snapshots", "metrics", "details")}
    return {**dict.fromkeys(LATER), **row, **texts, "at": times.text(times.micros(row["at"]))}


def _texts(snapshots: Mapping[str, int | None]) -> str:
    return json.dumps({table: None if snapshot is None else str(snapshot) for table, snapshot in snapshots.items()})
