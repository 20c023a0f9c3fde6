"""The result of a prediction, with the model version and the snapshots that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from featurestore.values import times
from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class Arm(Result):
    """The version behind an alias that predicted for some of the records, and what it read."""

    version: str | None
    model_id: str | None = None
    snapshots: Mapping[str, int | None] = field(default_factory=dict, metadata=SNAPSHOT_ID)
    watermarks: Mapping[str, datetime | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: snapshot ids as text."""
        return {"version": self.version, "model_id": self.model_id, **_read(self.snapshots, self.watermarks)}


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """A prediction for each record, in order, as plain Python values.

    `version` is the version of the model, None if records were predicted by several. `snapshots` has the published snapshot of each
    feature table that was read, and `watermarks` the time through which it was materialized; None for a table that was never published.
    `status` has, by the label of each view, one of PRESENT, NOT_FOUND, EXPIRED and STALE for each record; None for a record that was
    predicted by a version without this view. `model_id` is that of the logged model in MLflow. `request_id` is that of the request to a
    server. If the model's traffic is split, `arms` has the alias that each record went to, and `answered_by` what is behind it.
    """

    predictions: list[Any]
    model: str
    version: str | None
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    status: Mapping[str, list[str | None]] = field(default_factory=dict)
    model_id: str | None = None
    watermarks: Mapping[str, datetime | None] = field(default_factory=dict)
    request_id: str | None = None
    arms: list[str] | None = None
    answered_by: Mapping[str, Arm] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The HTTP body; `arms` and `answered_by` are left out if the traffic is not split."""
        body = {
            # As they are: a model may predict what is not JSON, which its caller reports.
            "predictions": self.predictions,
            "model": self.model,
            "version": self.version,
            "model_id": self.model_id,
            "request_id": self.request_id,
            **_read(self.snapshots, self.watermarks),
            "status": {label: list(states) for label, states in self.status.items()},
        }
        if self.arms is not None:
            body["arms"] = self.arms
            body["answered_by"] = {alias: arm.to_dict() for alias, arm in (self.answered_by or {}).items()}
        return body


def _read(snapshots: Mapping[str, int | None], watermarks: Mapping[str, datetime | None]) -> dict[str, Any]:
    return {
        "snapshots": {table: None if snapshot is None else str(snapshot) for table, snapshot in snapshots.items()},
        "watermarks": {table: None if at is None else times.text(times.micros(at)) for table, at in watermarks.items()},
    }
