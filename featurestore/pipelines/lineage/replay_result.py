"""A logged prediction, computed again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class ReplayedValue(Result):
    """A feature or the prediction as it was logged and as it was computed again, as JSON values.

    `overridden`: the caller had sent it, so it was taken from the log.
    """

    name: str
    logged: Any
    replayed: Any
    equal: bool
    overridden: bool = False


@dataclass(frozen=True, eq=False)
class Replay(Result):
    """A logged prediction, computed again from the snapshots and the time that its row names.

    `equal` says whether the prediction and all features are bit for bit what was logged; otherwise `why` says what differs, and why.
    `row` is the number of the record in its request, which had `rows`; `arm` is the alias that predicted, and `shadow` says that the
    prediction was not answered. `parameters` are those that the caller sent. `notes` say what else made the features what they are: a
    ttl, staleness, what the caller sent.
    """

    request_id: str
    table: str
    model: str
    version: str | None
    predicted_at: datetime
    as_of: datetime
    keys: Mapping[str, Any]
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    prediction: ReplayedValue
    features: tuple[ReplayedValue, ...]
    equal: bool
    why: tuple[str, ...]
    row: int = 0
    rows: int = 1
    arm: str | None = None
    shadow: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
