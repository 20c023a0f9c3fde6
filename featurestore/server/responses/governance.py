"""Response bodies of promotions, audits, replays and retention."""

from typing import Any

from pydantic import Field

from featurestore.server.responses.answer import Answer


class AliasChange(Answer):
    """A change of an alias, or of the stage of a version; `changed` is false if everything was so before."""

    action: str
    model: str
    version: str | None
    alias: str | None
    before: str | None
    approver: str
    verified: list[str]
    changed: bool
    at: str


class TrafficPeriod(Answer):
    """A split, from `since` to `until` (null: it is in force); without weights, requests were not split."""

    weights: dict[str, float]
    shadow: list[str]
    versions: dict[str, str]
    approver: str | None
    reason: str | None
    since: str
    until: str | None


class Traffic(Answer):
    """How the requests to a model are split; without weights, they are not. `keys` are the entity keys that are hashed."""

    model: str
    weights: dict[str, float]
    shadow: list[str]
    versions: dict[str, str]
    keys: list[str]
    approver: str | None
    reason: str | None
    since: str | None
    history: list[TrafficPeriod]


class Estimate(Answer):
    """A value with its confidence interval; null where there are too few rows for one."""

    value: float
    low: float | None
    high: float | None


class ArmComparison(Answer):
    """The logged predictions of one alias, version and role."""

    arm: str | None
    version: str | None
    shadow: bool
    rows: int
    first: str
    last: str
    mean: Estimate | None
    quantiles: dict[str, float]
    shares: dict[str, Estimate]
    labeled: int
    metrics: dict[str, Estimate]


class TrafficComparison(Answer):
    """The arms of a model; `labels` says how rows and labels were matched."""

    model: str
    since: str | None
    confidence: float
    arms: list[ArmComparison]
    labels: str | None


class ReplayedValue(Answer):
    """A feature or the prediction as it was logged and as it was computed again."""

    name: str
    logged: Any
    replayed: Any
    equal: bool
    overridden: bool = Field(description="the caller had sent it, so it was taken from the log")


class Replay(Answer):
    """A logged prediction, computed again; if it is not equal, `why` says what differs, and why."""

    request_id: str
    table: str
    model: str
    version: str | None
    predicted_at: str
    as_of: str
    keys: dict[str, Any]
    snapshots: dict[str, str | None]
    prediction: ReplayedValue
    features: list[ReplayedValue]
    equal: bool
    why: list[str]
    row: int = Field(description="number of the record in its request")
    rows: int = Field(description="records of the request that were logged")
    arm: str | None = Field(description="alias that predicted; null for a version")
    shadow: bool = Field(description="the prediction was made for comparison and not answered")
    parameters: dict[str, Any]
    notes: list[str] = Field(description="what else made the features what they are: a ttl, staleness, what the caller sent")


class RetainedSnapshot(Answer):
    """A snapshot of a table, and what keeps it alive; `by` is empty for one that expires when it is old enough."""

    table: str
    snapshot_id: str
    committed_at: str
    by: list[str]


class Link(Answer):
    """A link of the chain; it is broken if it has problems."""

    kind: str
    name: str
    facts: dict[str, Any]
    verified: list[str]
    problems: list[str]


class Audit(Answer):
    """The chain behind a version of a model, from raw tables to predictions."""

    uri: str
    model: str
    version: str | None
    at: str
    deep: bool
    links: list[Link]
    broken: list[str] = Field(description="kinds and names of the links with problems; empty if all were verified")
