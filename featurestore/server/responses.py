"""What responses say, for OpenAPI and its readers; whatever the store adds to them goes out as well."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from featurestore.server.jobs.job import State


class Answer(BaseModel):
    """A response body."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="strings")


class ErrorDetail(BaseModel):
    """What was wrong: `type` for programs, `message` for people, `details` with the facts in the message."""

    type: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class Entity(Answer):
    """An entity as applied."""

    name: str
    keys: list[str]
    applied_at: str


class Source(Answer):
    """A source as applied."""

    name: str
    timestamp: str
    applied_at: str


class View(Answer):
    """The newest version of a view: its table, its snapshot, and how far it is materialized."""

    name: str
    version: int
    table: str
    fingerprint: str
    kind: Literal["row", "aggregate"]
    entity: str
    keys: list[str]
    source: str
    every: str | None
    ttl: str | int | None
    features: dict[str, str] = Field(description="DuckDB type by feature")
    checks: dict[str, Literal["error", "warn"]] = Field(description="severity by check")
    snapshot_id: str | None
    materialized_through: str | None
    materialized_at: str | None = Field(description="when the last run ended that brought anything, or the watermark further")
    newest_event: str | None = Field(description="the time of the source's newest event, as of that run")


class ViewDetail(View):
    """The same with its SQL, its definition, and a line for each version."""

    sql: str
    definition: dict[str, Any]
    versions: list[View]


class Service(Answer):
    """A service at the version that is served."""

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
    """The same with its definition and all versions."""

    definition: dict[str, Any]
    versions: list[dict[str, Any]]


class Read(Answer):
    """A table or a pattern of files that a backfill reads whole; null where nothing tells the count beforehand."""

    source: str
    snapshot_id: str | None
    files: int | None
    bytes: int | None
    rows: int | None


class Step(Answer):
    """One step of a plan."""

    action: str
    kind: str
    name: str
    version: int | None
    reason: str
    sql: str | None
    diff: str | None = Field(description="unified difference of the SQL from the version before")
    models: list[str] = Field(description="registered model versions that stay on an older version, such as `churn/3`")
    reads: list[Read] = Field(description="what the backfill reads, of a view that needs one")


class Other(Answer):
    """A definition that the catalog has and the plan's definitions have not; it is left alone."""

    kind: str
    name: str


class Plan(Answer):
    """What applying would do, or what was done. `base` is what the plan was made on: give it back to apply."""

    changed: bool
    base: str | None
    steps: list[Step]
    others: list[Other]


class Removal(Answer):
    """What was removed, or with `dry_run` would be."""

    kind: Literal["view", "service"]
    name: str
    versions: list[int]
    services: list[str] = Field(description="older versions of services that were bound to it and go along, such as `churn v1`")
    files: int
    bytes: int


class OnlineFeatures(Answer):
    """A row of values for each entity, in the order of `features`. `status` and `timestamps` by view and entity."""

    features: list[str]
    rows: list[list[Any]]
    snapshots: dict[str, str | None]
    watermarks: dict[str, str | None]
    edition: str | None = Field(None, description="number of the newest publish that values are from; views of one run share it")
    types: list[str | None] | None = Field(None, description="DuckDB type by feature; null for derived ones")
    derived_types: list[str] | None = Field(None, description="DuckDB type by derived feature, where there are any")
    status: dict[str, list[Literal["PRESENT", "NOT_FOUND", "EXPIRED", "STALE"]]] | None = None
    timestamps: dict[str, list[str | None]] | None = None


class Accepted(Answer):
    """A job was taken: ask for it under `url`."""

    id: str
    state: State
    url: str


class TrainingSetLine(Answer):
    """A finished training set."""

    id: str
    name: str
    service: str
    rows: int
    digest: str
    created_at: str


class TrainingSetState(Answer):
    """Where a training set stands. `manifest` is there when it is done, `error` when it failed."""

    id: str
    state: State
    progress: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    error: ErrorDetail | None = None


class TrainingSetFiles(Answer):
    """Where the rows lie: paths of the server, or addresses such as s3://bucket/key."""

    table: str
    snapshot_id: str
    files: list[str]


class ColumnStatistics(Answer):
    """What one column looks like; `quantiles` by percent and `histogram` of numbers and times only."""

    type: str
    role: Literal["spine", "feature", "derived"]
    count: int = Field(description="values that are not null")
    nulls: int
    distinct: int
    top: list[tuple[Any, int]] | None = Field(None, description="the most frequent values with their counts")
    quantiles: dict[str, Any] | None = None
    histogram: dict[str, list[Any]] | None = None


class Statistics(Answer):
    """What the features and the label of a training set look like."""

    training_set: str
    rows: int
    columns: dict[str, ColumnStatistics]


class Comparison(Answer):
    """What the second training set has otherwise than the first; see `FeatureStore.compare`."""

    a: str
    b: str
    definitions: list[dict[str, Any]]
    rows: dict[str, int]
    features: dict[str, Any]


class Rebuilt(Answer):
    """A rebuild that gave the same rows, bit for bit."""

    id: str
    verified: Literal[True]
    digest: str
    rows: int


class CheckOutcome(Answer):
    """What became of one check in one run."""

    name: str
    severity: Literal["error", "warn"]
    passed: bool
    message: str


class Run(Answer):
    """What a materialization did to one view."""

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
    """Where a job stands. `result` is there when it is done, `error` when it failed."""

    id: str
    state: State
    progress: dict[str, Any] | None = None
    result: Any = None
    error: ErrorDetail | None = None


class Materialization(JobState):
    """Where a materialization stands. `result` has a run for each view when it is done, also when others failed."""

    result: list[Run] | None = None


class Published(Answer):
    """What was published of one version of a view; `snapshot_id` is null if it has no rows."""

    view: str
    table: str
    rows: int
    snapshot_id: str | None


class Publication(JobState):
    """Where a publication stands."""

    result: list[Published] | None = None


class OnlineDifference(Answer):
    """A key whose online row differs; a changed one has the feature, and its value `online` and in the `table`."""

    key: dict[str, Any]
    what: Literal["missing", "extra", "changed"]


class OnlineComparison(Answer):
    """The online rows of one version of a view, compared with its table."""

    view: str
    table: str
    snapshot_id: str | None
    rows: int
    missing: int
    changed: int
    extra: int
    differences: list[OnlineDifference] = Field(description="the first thousand")
    same: bool


class Verification(JobState):
    """Where a verification of the online store stands."""

    result: list[OnlineComparison] | None = None


class Rebuild(JobState):
    """Where a rebuild stands; a mismatch is the error DigestMismatch."""

    result: Rebuilt | None = None


class ComparisonState(JobState):
    """Where a comparison stands."""

    result: Comparison | None = None


class Upkeep(Answer):
    """What was tidied in one table, or would be; `note` says what was left undone, and why."""

    table: str
    snapshots: int
    files: int
    bytes: int
    compacted_files: int
    compacted_bytes: int
    folded_rows: int
    note: str | None


class Maintenance(JobState):
    """Where maintenance stands."""

    result: list[Upkeep] | None = None


class Repair(Answer):
    """A table with missing files: rolled back to a snapshot, null if the table is empty now, or with `dry_run` would be."""

    table: str
    missing: int
    first: str | None
    back_to: str | None
    training_sets: list[str] = Field(description="ids of those that need a missing file")
    todo: str


class Repairs(JobState):
    """Where a repair stands."""

    result: list[Repair] | None = None


class Model(Answer):
    """A version of a model, and what it was trained on; `version` is null for one that was never registered."""

    model: str
    version: str | None
    training_set: str
    snapshots: dict[str, str | None]
    aliases: list[str]
    at: str


class Predictions(Answer):
    """A prediction for each row, and what it was made with."""

    predictions: list[Any]
    model: str
    version: str | None
    snapshots: dict[str, str | None]
