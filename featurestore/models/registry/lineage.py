"""Find the models that were trained on a snapshot, and set aliases of registered models."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.mlflow_client import check_new_alias, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.models.registry.mlflow_registry import MlflowRegistry
from featurestore.models.stamps import stamp
from featurestore.models.stamps.recorded_changes import recorded_change
from featurestore.models.stamps.store_access import check_store, runtime_of
from featurestore.records import model_events
from featurestore.records.alias_changes import AliasRecord
from featurestore.settings import load_settings
from featurestore.store import FeatureStore
from featurestore.values.result import Result
from featurestore.values.table_names import local_name


@dataclass(frozen=True, eq=False)
class TrainedModel(Result):
    """A version of a registered model, or a logged model that is not registered, with `version` None and no aliases.

    `model_id` and `run_id` are MLflow's ids of the logged model and its run; `training_set` is the id of the training set.
    """

    model: str
    version: str | None
    aliases: tuple[str, ...]
    model_uri: str
    model_id: str
    run_id: str
    training_set: str


def trained_on(table: str, snapshot_id: int | str | None, store: FeatureStore | None = None) -> list[TrainedModel]:
    """The models whose training set pinned this snapshot of a feature table; None: those for which the table was empty.

    Returns one result for each registered version, and one for each model that is not registered, by name and version. `table` is a
    name such as features.customer_orders_v1, with or without the namespace.
    """
    check_store(store)
    tracking.use_tracking(None if store is None else store.settings)
    settings = load_settings() if store is None else store.settings
    local = local_name(table, settings.catalog_name)
    name = local if "." in local else f"{settings.features_namespace}.{local}"
    filter_ = f"tags.`{stamp.snapshot_tag(name)}` = '{'none' if snapshot_id is None else snapshot_id}'"
    client = mlflow.MlflowClient()
    models: dict[tuple[str, str], dict[str, Any]] = {}
    with translate_mlflow_errors("feature table", table):
        for model in _search_logged_models(filter_):
            versions = json.loads(model.tags.get("mlflow.modelVersions", "[]"))
            entries = {
                "model_id": model.model_id,
                "run_id": model.source_run_id,
                "training_set": model.tags[f"{stamp.PREFIX}.training_set"],
            }
            for entry in versions:
                models[entry["name"], str(entry["version"])] = entries
            if not versions:
                models[model.name, ""] = entries
        # Copies of a version have its tags, but are not listed by the logged model.
        for copy in client.search_model_versions(filter_, max_results=10_000):
            entries = {"model_id": copy.model_id, "run_id": copy.run_id, "training_set": copy.tags[f"{stamp.PREFIX}.training_set"]}
            models.setdefault((copy.name, str(copy.version)), entries)
        described = [_describe(name, version, entries) for (name, version), entries in sorted(models.items())]
        return [model for model in described if model is not None]


@recorded_change
def set_alias(name: str, alias: str, version: int | str | None, *, approver: str | None = None, store: FeatureStore | None = None) -> None:
    """Set an alias of a registered model to a version, or remove it (version None), and record the approver.

    Raises: NotFound for an unknown model, version or alias; RequestError for a model without a stamp; CommitConflict if another
    change of the alias came first.
    """
    check_store(store)
    used_store = store if store is not None else FeatureStore()
    with limit_time():
        tracking.use_tracking(used_store.settings)
        _set_alias(used_store, name, alias, version, approver)
    if store is None:
        used_store.close()


def _set_alias(store: FeatureStore, name: str, alias: str, version: int | str | None, approver: str | None) -> None:
    if version is not None:
        check_new_alias(alias)
    client = mlflow.MlflowClient()
    record = AliasRecord(runtime_of(store), name, alias)
    with translate_mlflow_errors("model", f"models:/{name}{f'@{alias}' if version is None else f'/{version}'}"):
        target = client.get_model_version_by_alias(name, alias) if version is None else client.get_model_version(name, str(version))
    info = stamp.stamped_info(f"models:/{name}/{target.version}", store.settings)
    stamped = info.metadata[stamp.PREFIX]
    with translate_mlflow_errors("run", info.run_id or ""):
        metrics = MlflowRegistry(mlflow.get_tracking_uri()).metrics_of(info.run_id)
    event = model_events.Event(
        event="alias removed" if version is None else "alias set",
        model=name,
        version=str(target.version),
        model_id=info.model_id,
        run_id=info.run_id,
        training_set=stamped["training_set"],
        snapshots={table.rpartition(".")[2]: None if at is None else int(at) for table, at in stamped["snapshots"].items()},
        metrics=metrics,
        alias=alias,
        approver=approver,
    )
    # Recorded first: an alias without its approver would be found as set by nobody. If MLflow then refuses, the next look says so.
    record.append(event)
    try:
        with translate_mlflow_errors("model", name):
            if version is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(target.version))
    finally:
        record.settle()


def _search_logged_models(filter_: str) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    if experiments:
        yield from mlflow.search_logged_models(experiment_ids=experiments, filter_string=filter_, output_format="list")


def _describe(name: str, version: str, entries: dict[str, Any]) -> TrainedModel | None:
    """The result for one model; None for a version that has been deleted."""
    if not version:
        return TrainedModel(name, None, (), f"models:/{entries['model_id']}", **entries)
    try:
        # Searches do not return aliases.
        aliases = mlflow.MlflowClient().get_model_version(name, version).aliases
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return TrainedModel(name, version, tuple(aliases), f"models:/{name}/{version}", **entries)
