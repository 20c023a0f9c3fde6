"""The result of a prediction, with the model version and the snapshots that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """A prediction for each record, in order, as plain Python values.

    `version` is the version of the model. `snapshots` has the published snapshot of each feature table that was read; None for a table
    that was never published. `status` has, by the label of each view, one of PRESENT, NOT_FOUND, EXPIRED and STALE for each record.
    """

    predictions: list[Any]
    model: str
    version: str | None
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)
    status: Mapping[str, list[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The HTTP body: snapshot ids as text, predictions as they are."""
        snapshots = {table: None if snapshot is None else str(snapshot) for table, snapshot in self.snapshots.items()}
        return {
            "predictions": self.predictions,
            "model": self.model,
            "version": self.version,
            "snapshots": snapshots,
            "status": {label: list(states) for label, states in self.status.items()},
        }
