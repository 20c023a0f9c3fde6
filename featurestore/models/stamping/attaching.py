"""Stamp a model that was logged by autolog or by MLflow's own functions."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featurestore.errors import Conflict, RequestError
from featurestore.models.frames.missing import Missing, check_policy
from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.stamping.model_logging import make_stamp, record_input, tag_version
from featurestore.models.stamping.run_artifacts import log_training_set
from featurestore.models.stamps import bundle, locate_store, pickles, store_access
from featurestore.models.stamps.stamp import FOLDER, ORIGINAL, PREFIX, STAMP, Stamp, read_stamp
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records import model_events
from featurestore.store import FeatureStore


def attach(
    model_uri: str,
    *,
    training_set: TrainingSet,
    missing: Missing = "nan",
    inputs: Sequence[str] | None = None,
    store: FeatureStore | None = None,
) -> Any:
    """Stamp a logged model with its training set, as `log_model` does; the native model is not changed.

    A model that already has this training set's stamp is not changed, unless `inputs` differ from those of the stamp: then it gets another
    stamp. Servers that have loaded it keep the old one until they restart. Returns MLflow's ModelInfo. Raises: NotFound;
    Conflict for a model stamped with another training set; RequestError as in `log_model`.
    """
    check_policy(missing)
    with store_access.store_of(training_set, store) as used_store:
        tracking.use_tracking_to_log(used_store.settings)
        with limit_time(TRANSFER_SECONDS), translate_mlflow_errors("model", model_uri):
            info = mlflow.models.get_model_info(local_path(model_uri))
        stamped = (info.metadata or {}).get(PREFIX)
        if stamped is not None:
            if stamped["training_set"] != training_set.id:
                raise Conflict(f"{model_uri} is already stamped with training set {stamped['training_set']}; a model has one training set")
            if inputs is None:
                return info
        if info.model_id is None:
            raise RequestError(f"{model_uri} was logged by MLflow 2, whose models cannot be stamped; log it again with MLflow 3")
        stamp = _write(model_uri, info.model_id, training_set, used_store, missing, inputs)
        if stamp is None:
            return info
        client = mlflow.MlflowClient()
        client.set_logged_model_tags(info.model_id, stamp.tags())
        versions = _versions(info.model_id)
        for name, version in versions:
            tag_version(name, version, stamp)
        run_id = client.get_logged_model(info.model_id).source_run_id
        if run_id:
            record_input(run_id, training_set, stamp, info.model_id)
            log_training_set(run_id, training_set)
        _record(used_store, client.get_logged_model(info.model_id), run_id, versions, stamp)
        return mlflow.models.get_model_info(local_path(model_uri))


def _write(
    model_uri: str, model_id: str, training_set: TrainingSet, store: FeatureStore, missing: Missing, inputs: Sequence[str] | None
) -> Stamp | None:
    """Download the artifacts, wrap them, and upload the changed files; None if they have a stamp with these inputs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(mlflow.artifacts.download_artifacts(local_path(model_uri), dst_path=str(Path(scratch, "model"))))
        previous = read_stamp(folder) if (folder / FOLDER / STAMP).is_file() else None
        if previous is not None:
            if inputs is not None and list(inputs) == [column.name for column in previous.inputs]:
                return None
            shutil.copy(folder / FOLDER / ORIGINAL, folder / ORIGINAL)
            shutil.rmtree(folder / FOLDER)
        if not store.settings.allow_pickle:
            pickles.refuse_pickles(folder)
        meta = mlflow.models.Model.load(str(folder / ORIGINAL))
        native, by_name = _native(folder, Path(scratch, "native"))
        stamp = make_stamp(native, training_set, meta.signature, store, inputs=inputs, missing=missing, by_name=by_name)
        locate_store.check_store(store, stamp)
        bundle.wrap(folder, meta, stamp, training_set.manifest, meta.signature)
        changed = Path(scratch, "changed")
        shutil.copytree(folder / FOLDER, changed / FOLDER)
        shutil.copy(folder / ORIGINAL, changed / ORIGINAL)
        mlflow.MlflowClient().log_model_artifacts(model_id, str(changed))
    return stamp


def _native(folder: Path, links: Path) -> tuple[Any, bool]:
    """The saved object, and whether it reads its columns by name: it is of the user's own code."""
    links.mkdir()
    for path in folder.iterdir():
        if path.name != ORIGINAL:
            (links / path.name).symlink_to(path)
    model = bundle.open_native(folder / ORIGINAL, links)
    return bundle.saved_object(model), model.loader_module == "mlflow.pyfunc.model"


def _versions(model_id: str) -> list[tuple[str, str]]:
    """The registered versions of a logged model, from its tag."""
    tags = mlflow.MlflowClient().get_logged_model(model_id).tags
    return [(entry["name"], str(entry["version"])) for entry in json.loads(tags.get("mlflow.modelVersions", "[]"))]


def _record(store: FeatureStore, model: Any, run_id: str | None, versions: Sequence[tuple[str, str]], stamp: Stamp) -> None:
    metrics = {metric.key: metric.value for metric in model.metrics or []}
    event = model_events.Event("attached", model.name, None, model.model_id, run_id, stamp.training_set, stamp.snapshots, metrics)
    model_events.record_events(store.catalog, store.settings, [event, *(event.of("attached", name, version) for name, version in versions)])
