"""The stamp: a record of a model's training set, in the model's artifacts and on its entries in MLflow."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import Conflict, RequestError
from featurestore.models.frames.inputs import Input
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.records import stored_definition
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings

PREFIX = "featurestore"
FOLDER = "featurestore"
"""The folder in a model's artifacts with the stamp, the manifest and the native model's MLmodel."""
VERSION = 3
"""The newest version of the stamp's format: 2 has `part`, `files` and `exact_decimals`; 3, which only models that need it have, `defaults`
and the categories of inputs.
"""
STAMP, MANIFEST, ORIGINAL = "stamp.json", "manifest.json", "MLmodel"


@dataclass(frozen=True)
class Stamp:
    """Everything that scoring needs, as of the training.

    `views` maps feature tables to their entries in the manifest (table, uuid, snapshot_id, fingerprint). `inputs` are the model's columns
    in order; `named` says whether the model has their names, or was trained on a bare matrix. `missing` is the policy for keys without
    features, "nan" or "error". `store` is the address of the store without secrets, as a hint. `predict_fn` is the native model's method
    to call; None: the method that its MLflow flavor calls. `part` is the part of the training set's split that it was trained on; None: all
    rows. `files` are the SHA-256 digests of the native model's files by their paths; None in stamps of early releases. `defaults` are the
    values that the model gets for NULLs, by feature, as JSON values.
    `exact_decimals`: the model gets decimals as Decimal, as `to_pandas` gives them; models of early releases get doubles.
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
    part: str | None = None
    files: Mapping[str, str] | None = None
    exact_decimals: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def snapshots(self) -> dict[str, int | None]:
        """The snapshot of each feature table; None for a table without rows."""
        texts = {name: view["snapshot_id"] for name, view in self.views.items()}
        return {name: None if snapshot is None else int(snapshot) for name, snapshot in texts.items()}

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the model reads, in its order."""
        return tuple(column.name for column in self.inputs if column.role == "feature")

    def tags(self) -> dict[str, str]:
        """Tags for the model and its versions in MLflow; snapshot ids are text, "none" for an empty table."""
        return {
            f"{PREFIX}.training_set": self.training_set,
            f"{PREFIX}.digest": self.digest,
            **({} if self.part is None else {f"{PREFIX}.part": self.part}),
            f"{PREFIX}.service": self.plan.service,
            f"{PREFIX}.service_version": str(self.plan.version),
            f"{PREFIX}.fingerprint": self.plan.fingerprint,
            **{snapshot_tag(view["table"]): str(view["snapshot_id"] or "none") for view in self.views.values()},
        }

    def metadata(self) -> dict[str, Any]:
        """The summary for the metadata of the MLmodel file."""
        snapshots = {view["table"]: view["snapshot_id"] for view in self.views.values()}
        service = {"name": self.plan.service, "version": self.plan.version, "fingerprint": self.plan.fingerprint}
        part = {} if self.part is None else {"part": self.part}
        return {PREFIX: {"training_set": self.training_set, "digest": self.digest, **part, "service": service, "snapshots": snapshots}}

    def to_dict(self) -> dict[str, Any]:
        """The stamp as JSON values, for `stamp_from_dict`."""
        values = asdict(self)
        if self.defaults or any(column.categories for column in self.inputs):
            return {"stamp_version": VERSION, **values, "plan": self.plan.to_dict()}
        # As early releases read it.
        del values["defaults"]
        inputs = [{name: value for name, value in column.items() if name != "categories"} for column in values["inputs"]]
        return {"stamp_version": 2, **values, "inputs": inputs, "plan": self.plan.to_dict()}


def stamp_from_dict(document: Mapping[str, Any]) -> Stamp:
    """The stamp that `Stamp.to_dict` wrote. Raises: Conflict for one of a newer release."""
    if document.get("stamp_version", 1) > VERSION:
        raise Conflict(
            f"the model's stamp has the version {document['stamp_version']}, and this release reads versions up to {VERSION}; install a"
            " newer release of featurestore"
        )
    values = {name: value for name, value in document.items() if name != "stamp_version"}
    inputs = tuple(_read_input(column) for column in document["inputs"])
    return Stamp(**{**values, "plan": stored_definition.stored_plan(document["plan"], "the model's stamp"), "inputs": inputs})


def _read_input(column: Mapping[str, Any]) -> Input:
    categories = column.get("categories")
    return Input(**{**column, "categories": tuple(categories) if categories else None})


def snapshot_tag(table: str) -> str:
    """The name of the tag with the snapshot of a feature table such as `features.customer_orders_v1`."""
    return f"{PREFIX}.snapshot.{table}"


def read_stamp(folder: Path, address: str = "the model") -> Stamp:
    """Read the stamp in the folder of a model's artifacts. Raises: RequestError naming the model's address if there is none."""
    path = folder / FOLDER / STAMP
    if not path.is_file():
        raise RequestError(f"{address} has no stamp; log it with models.log_model, or stamp it with models.attach")
    return stamp_from_dict(json.loads(path.read_text()))


def training_set_id(model_uri: str, settings: Settings | None = None) -> str:
    """The id of the training set behind a model: models:/name/1, models:/name@alias, models:/m-..., runs:/..., or a folder.

    `settings` select MLflow; None: the one in use, else the configured one. Raises: NotFound for an unknown model; RequestError for a model
    without a stamp.
    """
    return str(stamped_info(model_uri, settings).metadata[PREFIX]["training_set"])


def stamped_digest(model_uri: str, runtime: Runtime) -> tuple[str, str]:
    """The id and the digest of the training set behind a model, as its stamp has them. Raises: as `training_set_id`."""
    with naming_deleted(runtime, model_uri):
        stamped = stamped_info(model_uri, runtime.settings).metadata[PREFIX]
    return str(stamped["training_set"]), str(stamped["digest"])


def stamped_info(model_uri: str, settings: Settings | None = None) -> Any:
    """MLflow's ModelInfo of a stamped model, with `Stamp.metadata` in its metadata. Raises: as `training_set_id`."""
    tracking.use_tracking(settings)
    with limit_time(), translate_mlflow_errors("model", model_uri):
        info = mlflow.models.get_model_info(local_path(model_uri))
    if PREFIX not in (info.metadata or {}):
        raise RequestError(f"{model_uri} has no stamp; log it with models.log_model, or stamp it with models.attach")
    return info
