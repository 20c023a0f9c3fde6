"""What the listings of a store return: its definitions as they were applied, and the models trained with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False, kw_only=True)
class EntityInfo(Result):
    """An entity as it was applied."""

    name: str
    keys: tuple[str, ...]
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    applied_at: datetime


@dataclass(frozen=True, eq=False)
class PushStatus(Result):
    """What the log of pushed events has seen of a source.

    `rows` were acknowledged so far, `rows_per_minute` of them in the last minute, the last ones at `acknowledged`; `last_event` is the
    greatest event time. `waiting` rows are not in the source's table yet, the oldest of them for `lag_seconds`. `refused` rows did not fit,
    and `refusal` says why the last ones did not. `problem` says why the log cannot be asked, if so; the numbers are not known then.
    """

    rows: int = 0
    rows_per_minute: int = 0
    last_event: datetime | None = None
    acknowledged: datetime | None = None
    waiting: int = 0
    lag_seconds: float = 0.0
    refused: int = 0
    refusal: str = ""
    problem: str = ""


_LEFT_OUT = ("log", "format", "url", "watermark", "id", "overlap", "zone", "partitions", "keep", "schema")


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceInfo(Result):
    """A source as it was applied: one of `table`, `path`, `sql` and `schema` is set, and with `url` the `table` is that of a database.

    `format` is that of CSV files; None: the default. Fields from `url` on say how rows are copied that the store keeps; `log` is what was
    pushed to a source with a `schema`.
    """

    name: str
    table: str | None = None
    path: str | None = None
    sql: str | None = None
    timestamp: str
    created: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    format: Mapping[str, Any] | None = None
    url: str | None = None
    watermark: str | None = None
    id: str | None = None
    overlap: str | None = None
    zone: str | None = None
    partitions: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    schema: Mapping[str, str] | None = None
    log: PushStatus | None = None
    applied_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; without `format` and the fields after it that are not set."""
        return {name: value for name, value in super().to_dict().items() if name not in _LEFT_OUT or value}


@dataclass(frozen=True, eq=False)
class ViewInfo(Result):
    """One version of a view, with its feature table.

    `features` has the DuckDB type by feature, `checks` the severity by check. `snapshot_id` is the table's current snapshot, None
    without rows; `materialized_through` the watermark, None before the first run; `materialized_at` when the last run ended that
    changed either; `newest_event` the time of the source's newest event as of that run.
    """

    name: str
    version: int
    table: str
    fingerprint: str
    kind: Literal["row", "aggregate", "written"]
    entity: str
    keys: tuple[str, ...]
    source: str
    every: str | None
    ttl: str | int | None
    features: Mapping[str, str]
    checks: Mapping[str, str]
    description: str
    owner: str
    tags: Mapping[str, str]
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)
    materialized_through: datetime | None
    materialized_at: datetime | None
    newest_event: datetime | None
    applied_at: datetime


@dataclass(frozen=True, eq=False)
class ViewDetail(ViewInfo):
    """The newest version of a view with its SQL, its definition, and all versions, the oldest first."""

    sql: str
    definition: Mapping[str, Any]
    versions: tuple[ViewInfo, ...]


@dataclass(frozen=True, eq=False)
class ServiceInfo(Result):
    """A service at the version that is served.

    `key_types` and `request` have DuckDB types by name, `derived` the SQL by feature, `views` the feature table by view, or by the
    alias that the service gives it.
    """

    name: str
    version: int
    fingerprint: str
    keys: tuple[str, ...]
    key_types: Mapping[str, str]
    features: tuple[str, ...]
    request: Mapping[str, str]
    derived: Mapping[str, str]
    views: Mapping[str, str]
    description: str
    owner: str
    tags: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ServiceVersion(Result):
    """A version of a service, with the version of each view that it reads."""

    version: int
    fingerprint: str
    views: Mapping[str, int]
    applied_at: datetime


@dataclass(frozen=True, eq=False)
class ServiceDetail(ServiceInfo):
    """A service at the version that is served, with its newest definition and all versions, the oldest first."""

    definition: Mapping[str, Any]
    versions: tuple[ServiceVersion, ...]


@dataclass(frozen=True, eq=False)
class ModelInfo(Result):
    """A version of a model and what it was trained on; `version` is None for a model that was logged and never registered.

    `snapshots` has the snapshot of each feature table, None for a table without rows. `stage` is MLflow's, None for a version without one.
    """

    model: str
    version: str | None
    training_set: str
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    metrics: Mapping[str, float]
    model_id: str | None
    run_id: str | None
    at: datetime
    aliases: tuple[str, ...]
    stage: str | None = None
