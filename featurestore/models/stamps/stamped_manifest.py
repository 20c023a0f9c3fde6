"""The manifest of the training set behind a model, from the model's artifacts."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurestore.models.mlflow_access.mlflow_client import artifact_repository, local_path, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.models.stamps.stamp import FOLDER, MANIFEST, training_set_id
from featurestore.settings import Settings
from featurestore.values.result import NamedValues


@dataclass(frozen=True, eq=False)
class StampedManifest(NamedValues[Any]):
    """The manifest of a model's training set; `manifest["sql"]` reads any entry of it, and `to_dict` returns it as JSON values.

    The training set itself need not exist any more, nor its store be reachable.
    """

    @property
    def id(self) -> str:
        """The training set's id."""
        return str(self.entries["id"])

    @property
    def digest(self) -> str:
        """The digest of the training set's content."""
        return str(self.entries["digest"])

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The pinned snapshot of each feature table; None for a table without rows."""
        pinned = {name: view["snapshot_id"] for name, view in self.entries["views"].items()}
        return {name: None if snapshot is None else int(snapshot) for name, snapshot in pinned.items()}


def training_set(model_uri: str, settings: Settings | None = None) -> StampedManifest:
    """The manifest of the training set behind a model.

    `model_uri` is models:/name/1, models:/name@alias, models:/m-..., runs:/..., or a folder; `settings` select MLflow. Raises: NotFound
    for an unknown model; RequestError for a model without a stamp.
    """
    training_set_id(model_uri, settings)
    address = local_path(model_uri)
    with tempfile.TemporaryDirectory() as folder, limit_time(), translate_mlflow_errors("model", model_uri):
        # Through the repository, because MLflow does not accept addresses of files under models:/m-....
        repository = artifact_repository.get_artifact_repository(address)
        return StampedManifest(json.loads(Path(repository.download_artifacts(f"{FOLDER}/{MANIFEST}", folder)).read_text()))
