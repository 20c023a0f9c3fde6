"""Response bodies as OpenAPI describes them; fields that the store adds are sent too."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from featurestore.server.jobs.job import State


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="strings")


class ErrorDetail(BaseModel):
    """An error: `type` for programs, `message` for people, and `details` with the values that the message mentions."""

    type: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail


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


class OnlineFeatures(Answer):
    """One row of values for each entity, in the order of `features`. `status` and `timestamps` have one list by entity for each view."""

    features: list[str]
    rows: list[list[Any]]
    snapshots: dict[str, str | None]
    watermarks: dict[str, str | None]
    edition: str | None = Field(None, description="number of the newest publish among the values; views of one run share it")
    types: list[str | None] | None = Field(None, description="DuckDB type of each feature; null for derived features")
    derived_types: list[str] | None = Field(None, description="DuckDB type of each derived feature, if there are any")
    status: dict[str, list[Literal["PRESENT", "NOT_FOUND", "EXPIRED", "STALE"]]] | None = None
    timestamps: dict[str, list[str | None]] | None = None


class AcceptedJob(Answer):
    """A job that was queued; `url` has its state."""

    id: str
    state: State
    url: str


class TrainingSetSummary(Answer):
    """A finished training set."""

    id: str
    name: str
    service: str
    rows: int
    digest: str
    created_at: str


class TrainingSetState(Answer):
    """The state of a training set, with its `manifest` when it is done and the `error` if it failed."""

    id: str
    state: State
    progress: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    error: ErrorDetail | None = None


class TrainingSetFiles(Answer):
    """The files that contain the rows: paths on the server, or addresses such as s3://bucket/key."""

    table: str
    snapshot_id: str
    files: list[str]


class ColumnStatistics(Answer):
    """Statistics of a column. Only numbers and times have `quantiles` (by percent) and a `histogram`."""

    type: str
    role: Literal["spine", "feature", "derived"]
    count: int = Field(description="number of values that are not null")
    nulls: int
    distinct: int
    top: list[tuple[Any, int]] | None = Field(None, description="the most frequent values with their counts")
    quantiles: dict[str, Any] | None = None
    histogram: dict[str, list[Any]] | None = None


class Statistics(Answer):
    """Statistics of the features and the label of a training set."""

    training_set: str
    rows: int
    columns: dict[str, ColumnStatistics]


class Comparison(Answer):
    """The differences of training set `b` from `a`; see `FeatureStore.compare`."""

    a: str
    b: str
    definitions: list[dict[str, Any]]
    rows: dict[str, int]
    features: dict[str, Any]


class RebuildResult(Answer):
    """A rebuild that produced the same rows, bit for bit."""

    id: str
    verified: Literal[True]
    digest: str
    rows: int


class CheckOutcome(Answer):
    """The result of a data quality check in a run."""

    name: str
    severity: Literal["error", "warn"]
    passed: bool
    message: str


class Run(Answer):
    """The result of materializing one view."""

    view: str
    table: str
    start: str | None
    end: str | None
    rows_computed: int
    rows_appended: int
    corrections: int
    future_rows: int
    null_keys: int
    snapshot_id: str | None
    published: int
    seconds: float
    checks: list[CheckOutcome]


class JobState(Answer):
    """The state of a job, with its `result` when it is done and the `error` if it failed."""

    id: str
    state: State
    progress: dict[str, Any] | None = None
    result: Any = None
    error: ErrorDetail | None = None


class Materialization(JobState):
    """The state of a materialization. `result` has the runs of all views that succeeded, even if others failed."""

    result: list[Run] | None = None


class PublishedView(Answer):
    """What was published of a version of a view; `snapshot_id` is null if its table is empty."""

    view: str
    table: str
    rows: int
    snapshot_id: str | None


class Publication(JobState):
    """The state of a publication."""

    result: list[PublishedView] | None = None


class OnlineDifference(Answer):
    """A key whose online row differs from the table. `changed` comes with the feature and its values `online` and in the `table`."""

    key: dict[str, Any]
    what: Literal["missing", "extra", "changed"]


class OnlineComparison(Answer):
    """The comparison of a view version's online rows with its feature table."""

    view: str
    table: str
    snapshot_id: str | None
    rows: int
    missing: int
    changed: int
    extra: int
    differences: list[OnlineDifference] = Field(description="the first 1000 differences")
    same: bool


class Verification(JobState):
    """The state of a verification of the online store."""

    result: list[OnlineComparison] | None = None


class Rebuild(JobState):
    """The state of a rebuild. If the rows differ, it fails with DigestMismatch."""

    result: RebuildResult | None = None


class ComparisonState(JobState):
    """The state of a comparison."""

    result: Comparison | None = None


class TableMaintenance(Answer):
    """What maintenance removed and compacted in a table, or would with `dry_run`; `note` says what was not done, and why."""

    table: str
    snapshots: int
    files: int
    bytes: int
    compacted_files: int
    compacted_bytes: int
    folded_rows: int
    note: str | None


class Maintenance(JobState):
    """The state of table maintenance."""

    result: list[TableMaintenance] | None = None


class Repair(Answer):
    """A table with missing files that was rolled back, or would be with `dry_run`, to the snapshot `back_to`: null if it is then empty."""

    table: str
    missing: int
    first: str | None
    back_to: str | None
    training_sets: list[str] = Field(description="ids of the training sets that need a missing file")
    todo: str


class Repairs(JobState):
    """The state of a repair."""

    result: list[Repair] | None = None


class Model(Answer):
    """A model version and what it was trained on; `version` is null for a model that was never registered."""

    model: str
    version: str | None
    training_set: str
    snapshots: dict[str, str | None]
    aliases: list[str]
    stage: str | None
    at: str


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


class Predictions(Answer):
    """One prediction for each row, with the model and the snapshots used."""

    predictions: list[Any]
    model: str
    version: str | None
    snapshots: dict[str, str | None]
