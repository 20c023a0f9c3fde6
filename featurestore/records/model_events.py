"""The audit chain of models: one Iceberg table, a row for each thing that happened to a model, only ever appended to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.lakehouse import scans, tables, writes
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
    ]
)


@dataclass(frozen=True)
class Event:
    """What happened to a model: logged, registered, attached, or alias set.

    `model` is the registered name if there is one, else the name it was logged under; `version` is None for a model that is not registered.
    `snapshots` has each feature table's snapshot, None for an empty one.
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

    def of(self, event: str, model: str, version: str | None) -> "Event":
        """Another event of the same model, under a registered name."""
        return replace(self, event=event, model=model, version=version)


@dataclass(frozen=True)
class Registered:
    """A registered model version, such as `churn/3`, with the feature tables and training sets it was ever recorded with."""

    name: str
    tables: frozenset[str]
    training_sets: frozenset[str]


def model_events_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.models"


def record_events(catalog: "Catalog", settings: Settings, events: Sequence[Event]) -> None:
    """Append events, all of now, in one commit; other writers do not matter."""
    now = times.now()
    rows = [
        {**vars(event), "snapshots": _texts(event.snapshots), "metrics": json.dumps(dict(event.metrics)), "at": now} for event in events
    ]
    table = tables.create_if_absent(catalog, model_events_table(settings), SCHEMA)
    writes.append_retrying(table, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={"featurestore.action": "model"})


def listing(runtime: Runtime) -> list[dict[str, Any]]:
    """Every event, newest first, JSON-ready: times as RFC 3339, snapshot ids as text; empty when none was recorded."""
    table = tables.find(runtime.catalog, model_events_table(runtime.settings))
    if table is None:
        return []
    found = scans.read_snapshot(table, tables.current_snapshot_id(table)).read_all().to_pylist()
    # Events of one commit have the same time: logged before registered.
    rows = sorted(found, key=lambda row: (row["at"], row["version"] is not None, row["version"] or "", row["event"]), reverse=True)
    texts = ("snapshots", "metrics")
    return [{**row, **{name: json.loads(row[name]) for name in texts}, "at": times.text(times.micros(row["at"]))} for row in rows]


def registered(runtime: Runtime) -> list[Registered]:
    """Every registered model version that was ever recorded, the oldest first."""
    tables_of: dict[str, frozenset[str]] = {}
    sets_of: dict[str, frozenset[str]] = {}
    for event in reversed(listing(runtime)):
        if event["version"] is not None:
            name = f"{event['model']}/{event['version']}"
            tables_of[name] = tables_of.get(name, frozenset()) | frozenset(event["snapshots"])
            sets_of[name] = sets_of.get(name, frozenset()) | {event["training_set"]}
    return [Registered(name, found, sets_of[name]) for name, found in tables_of.items()]


def _texts(snapshots: Mapping[str, int | None]) -> str:
    return json.dumps({table: None if snapshot is None else str(snapshot) for table, snapshot in snapshots.items()})
