"""What a model predicted, and from what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """A prediction for each record, in order, as plain Python values, with the version of the model and the snapshots that it read.

    `snapshots` has the snapshot of each feature table that the online store has; None for a table that was never published.
    """

    predictions: list[Any]
    model: str
    version: str | None
    snapshots: Mapping[str, int | None] = field(metadata=SNAPSHOT_ID)

    def to_dict(self) -> dict[str, Any]:
        """The HTTP body: snapshot ids as text, predictions as they are."""
        snapshots = {table: None if snapshot is None else str(snapshot) for table, snapshot in self.snapshots.items()}
        return {"predictions": self.predictions, "model": self.model, "version": self.version, "snapshots": snapshots}
