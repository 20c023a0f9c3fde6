"""The result of comparing what shared a model's traffic: counts, distributions and metrics of each arm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class Estimate(Result):
    """A value with its confidence interval, which treats rows as independent; None where there are too few rows for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class ArmComparison(Result):
    """The logged predictions of one alias, version and role; `arm` is None for requests that named a version, or nothing.

    `first` and `last` are the times of its predictions. Numbers have `mean` and `quantiles` ("0.05" to "0.95"), classes `shares`: how many
    of the rows have each. Of predictions of two values, such as probabilities of two classes, the second counts. `labeled` is the number
    of rows with a label, and `metrics` are from those.
    """

    arm: str | None
    version: str | None
    shadow: bool
    rows: int
    first: datetime
    last: datetime
    mean: Estimate | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Estimate] = field(default_factory=dict)
    labeled: int = 0
    metrics: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrafficComparison(Result):
    """The arms of a model since a time (None: ever), at a confidence level. `labels` says how rows and labels were matched."""

    model: str
    since: datetime | None
    confidence: float
    arms: tuple[ArmComparison, ...]
    labels: str | None = None
