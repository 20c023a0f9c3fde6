"""The stamp: what a model says about its training set, in the model itself and on its entries in MLflow."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError
from featurestore.models import tracking
from featurestore.models.inputs import Input
from featurestore.models.mlflow_client import artifact_repository, asking, local_path, mlflow
from featurestore.records import stored_definition
from featurestore.settings import Settings

PREFIX = "featurestore"
FOLDER = "featurestore"
"""The folder in a model's artifacts that holds the stamp, the manifest and the model's own MLmodel."""
STAMP, MANIFEST, ORIGINAL = "stamp.json", "manifest.json", "MLmodel"


@dataclass(frozen=True)
class Stamp:
    """Everything that scoring needs, as it was when the model was trained.

    `views` has, for each feature table, the manifest's entry (table, uuid, snapshot_id, fingerprint). `inputs` are the
    model's columns in its order; `named` tells whether it knows their names, or was trained on a bare matrix. `missing`
    is what to do about a key without features, "nan" or "error". `store` says where the store was, without secrets: a
    hint, not a setting. `predict_fn` is the native model's method that predicts; None: what its MLflow flavor calls.
    """

    training_set: str
    digest: str
    plan: ServicePlan
    views: Mapping[str, Mapping[str, Any]]
    timestamp: str
    label: str | None
    known: str
    inputs: tuple[Input, ...]
    named: bool
    missing: str
    store: Mapping[str, Any]
    predict_fn: str | None = None

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The snapshot of each feature table; None where it had no rows."""
        found = {name: view["snapshot_id"] for name, view in self.views.items()}
        return {name: None if snapshot is None else int(snapshot) for name, snapshot in found.items()}

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the model reads, in its order."""
        return tuple(one.name for one in self.inputs if one.role == "feature")

    def tags(self) -> dict[str, str]:
        """Tags for MLflow's entries of a model and its versions; snapshot ids as text, "none" for an empty table."""
        return {
            f"{PREFIX}.training_set": self.training_set,
            f"{PREFIX}.digest": self.digest,
            f"{PREFIX}.service": self.plan.service,
            f"{PREFIX}.service_version": str(self.plan.version),
            f"{PREFIX}.fingerprint": self.plan.fingerprint,
            **{snapshot_tag(view["table"]): str(view["snapshot_id"] or "none") for view in self.views.values()},
        }

    def metadata(self) -> dict[str, Any]:
        """What the MLmodel file's metadata says; the rest is in the folder."""
        snapshots = {view["table"]: view["snapshot_id"] for view in self.views.values()}
        service = {"name": self.plan.service, "version": self.plan.version, "fingerprint": self.plan.fingerprint}
        return {PREFIX: {"training_set": self.training_set, "digest": self.digest, "service": service, "snapshots": snapshots}}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `stamp_from_dict` reads it."""
        return {"stamp_version": 1, **asdict(self), "plan": self.plan.to_dict()}


def stamp_from_dict(document: Mapping[str, Any]) -> Stamp:
    """The stamp that `Stamp.to_dict` wrote."""
    values = {name: value for name, value in document.items() if name != "stamp_version"}
    inputs = tuple(Input(**one) for one in document["inputs"])
    return Stamp(**{**values, "plan": stored_definition.stored_plan(document["plan"], "the model's stamp"), "inputs": inputs})


def snapshot_tag(table: str) -> str:
    """The tag that holds the snapshot of a feature table such as `features.customer_orders_v1`."""
    return f"{PREFIX}.snapshot.{table}"


def read_stamp(folder: Path) -> Stamp:
    """The stamp of a model whose artifacts lie in this folder. Raises: RequestError if it has none."""
    path = folder / FOLDER / STAMP
    if not path.is_file():
        raise RequestError("this model carries no stamp; log it with models.log_model, or give it one with models.attach")
    return stamp_from_dict(json.loads(path.read_text()))


def training_set(model_uri: str, settings: Settings | None = None) -> dict[str, Any]:
    """The manifest of the training set behind a model.

    Raises: NotFound for a model that MLflow does not have; RequestError for one without a stamp.
    """
    training_set_id(model_uri, settings)
    address = local_path(model_uri)
    with tempfile.TemporaryDirectory() as folder, asking("model", model_uri):
        # Not by the address of the file: MLflow takes none below models:/m-....
        repository = artifact_repository.get_artifact_repository(address)
        manifest: dict[str, Any] = json.loads(Path(repository.download_artifacts(f"{FOLDER}/{MANIFEST}", folder)).read_text())
    return manifest


def training_set_id(model_uri: str, settings: Settings | None = None) -> str:
    """The id of the training set behind a model: models:/name/1, models:/name@alias, models:/m-..., runs:/..., or a folder.

    `settings` say which MLflow is meant; None: the one in use, else the configured one. Raises: as `training_set`.
    """
    return str(stamped_info(model_uri, settings).metadata[PREFIX]["training_set"])


def stamped_info(model_uri: str, settings: Settings | None = None) -> Any:
    """MLflow's ModelInfo of a stamped model, what `Stamp.metadata` wrote in its metadata. Raises: as `training_set`."""
    tracking.use(settings)
    with asking("model", model_uri):
        info = mlflow.models.get_model_info(local_path(model_uri))
    if PREFIX not in (info.metadata or {}):
        raise RequestError(f"{model_uri} carries no stamp; log it with models.log_model, or give it one with models.attach")
    return info
