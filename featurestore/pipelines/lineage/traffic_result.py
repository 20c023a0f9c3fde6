"""How the requests to a model are split, now and before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class TrafficPeriod(Result):
    """A split, from `since` to `until` (None: it is in force). Without `weights`, the requests were not split.

    `weights` are the percentages of the aliases that answer, `shadow` the aliases that were also scored, and `versions` what was
    behind each when the split was set. `approver` and `reason` say who set it and why; None: that was not said.
    """

    weights: Mapping[str, float]
    shadow: tuple[str, ...]
    versions: Mapping[str, str]
    approver: str | None
    reason: str | None
    since: datetime
    until: datetime | None


@dataclass(frozen=True, eq=False)
class Traffic(Result):
    """How the requests to a model are split; without `weights`, they are not: its approved version answers.

    `keys` are the entity keys by which records are assigned to aliases. `since` is None if its requests were never split. `history` has all
    periods, the newest first.
    """

    model: str
    weights: Mapping[str, float]
    shadow: tuple[str, ...]
    versions: Mapping[str, str]
    keys: tuple[str, ...]
    approver: str | None
    reason: str | None
    since: datetime | None
    history: tuple[TrafficPeriod, ...]
