"""Applied definitions, plans, removals, and what depends on a table."""

from typing import Any, Literal

from pydantic import Field

from featurestore.server.responses.answer import Answer


class Entity(Answer):
    """An applied entity."""

    name: str
    keys: list[str]
    applied_at: str


class Source(Answer):
    """An applied source."""

    name: str
    timestamp: str
    applied_at: str


class View(Answer):
    """The newest version of a view: its table, its snapshot, and how far it is materialized."""

    name: str
    version: int
    table: str
    fingerprint: str
    kind: Literal["row", "aggregate", "written"]
    entity: str
    keys: list[str]
    source: str
    every: str | None
    ttl: str | int | None
    features: dict[str, str] = Field(description="DuckDB type by feature")
    checks: dict[str, Literal["error", "warn"]] = Field(description="severity by check")
    snapshot_id: str | None
    materialized_through: str | None
    materialized_at: str | None = Field(description="end of the last run that appended rows or moved the watermark")
    newest_event: str | None = Field(description="event time of the newest row of the source, as of that run")


class ViewDetail(View):
    """A view with its SQL, its definition and all of its versions."""

    sql: str
    definition: dict[str, Any]
    versions: list[View]


class Service(Answer):
    """The served version of a service."""

    name: str
    version: int
    fingerprint: str
    keys: list[str]
    key_types: dict[str, str] = Field(description="DuckDB type by key column")
    features: list[str]
    request: dict[str, str] = Field(description="DuckDB type by request field")
    derived: dict[str, str] = Field(description="SQL by derived feature")
    views: dict[str, str] = Field(description="feature table by label")


class ServiceDetail(Service):
    """A service with its definition and all of its versions."""

    definition: dict[str, Any]
    versions: list[dict[str, Any]]


class BackfillSource(Answer):
    """A table or file pattern that a backfill reads in full. Counts that are not known in advance are null."""

    source: str
    snapshot_id: str | None
    files: int | None
    bytes: int | None
    rows: int | None


class PlanStep(Answer):
    """A step of a plan."""

    action: str
    kind: str
    name: str
    version: int | None
    reason: str
    sql: str | None
    diff: str | None = Field(description="unified diff of the SQL against the previous version")
    models: list[str] = Field(description="registered model versions that keep using an older version, such as `churn/3`")
    reads: list[BackfillSource] = Field(description="what the backfill reads, if the view needs one")


class UnplannedDefinition(Answer):
    """A definition that is in the catalog but not among the plan's definitions; applying the plan does not change it."""

    kind: str
    name: str


class Plan(Answer):
    """What applying the definitions would change, or has changed. `base` is the catalog state of the plan; send it to apply."""

    changed: bool
    base: str | None
    steps: list[PlanStep]
    others: list[UnplannedDefinition]


class Removal(Answer):
    """What was removed, or would be removed with `dry_run`."""

    kind: Literal["view", "service"]
    name: str
    versions: list[int]
    services: list[str] = Field(description="older versions of services that used it and are removed with it, such as `churn v1`")
    files: int
    bytes: int


class Impact(Answer):
    """What depends on a table or a column; features are `direct` where their values are computed from it, else `indirect`."""

    table: str
    column: str | None
    views: list[dict[str, Any]] = Field(description="view, version, table, current, features, and the roles that it has in the view")
    services: list[dict[str, Any]] = Field(description="service, version, current, features")
    training_sets: list[dict[str, Any]] = Field(description="id, service, features, and whether its spine was read from it")
    models: list[dict[str, Any]] = Field(description="model, version, aliases, training_set, features")
    predictions: list[dict[str, Any]] = Field(description="table, model, version, rows")
    untraced: list[str] = Field(description="versions of views whose stored SQL cannot be read, which may depend on it too")


class ColumnLineage(Answer):
    """A graph of what is computed from what; an edge is `direct` where its source is part of the value, else `indirect`."""

    name: str
    direction: Literal["up", "down", "both"]
    targets: list[str] = Field(description="the ids of the nodes that were asked for")
    nodes: list[dict[str, Any]] = Field(description="id, kind, name, of, version, current, aliases, side, dependence")
    edges: list[dict[str, Any]] = Field(description="source, target, dependence, roles")
    untraced: list[str] = Field(description="what has stored SQL that cannot be read, so that its edges are missing")
