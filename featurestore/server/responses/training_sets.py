"""Training sets, their statistics and files, rebuilds and comparisons."""

from typing import Any, Literal

from pydantic import Field

from featurestore.server.jobs.job import State
from featurestore.server.responses.answer import Answer, ErrorDetail


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


class TrainingSetRemoval(Answer):
    """A training set that was removed, or would be with `dry_run`."""

    kind: Literal["training set"]
    id: str
    table: str
    snapshot_id: str
    rows: int
    tables: list[str] = Field(description="the feature tables that it pinned")
    files: int
    bytes: int
