"""The registry's questions and moves: which models were trained on a snapshot, and which version an alias stands for."""

import json
from collections.abc import Iterator
from typing import Any

from featurestore.models import stamp, tracking
from featurestore.models.mlflow_client import asking, mlflow
from featurestore.models.store_access import check_store
from featurestore.records import model_events
from featurestore.settings import load_settings
from featurestore.store import FeatureStore


def trained_on(table: str, snapshot_id: int | str | None, store: FeatureStore | None = None) -> list[dict[str, Any]]:
    """The models whose training set pinned this snapshot of a feature table; None: those that found it empty.

    A dict for each registered version, and one with version None for a model that was never registered: model, version,
    aliases, model_id, model_uri, run_id, training_set. `table` is such as features.customer_orders_v1, or that without
    the namespace.
    """
    check_store(store)
    tracking.use(None if store is None else store.settings)
    settings = load_settings() if store is None else store.settings
    name = table if "." in table else f"{settings.features_namespace}.{table}"
    wanted = f"tags.`{stamp.snapshot_tag(name)}` = '{'none' if snapshot_id is None else snapshot_id}'"
    client = mlflow.MlflowClient()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    with asking("feature table", table):
        for model in _logged(wanted):
            versions = json.loads(model.tags.get("mlflow.modelVersions", "[]"))
            shown = {"model_id": model.model_id, "run_id": model.source_run_id, "training_set": model.tags[f"{stamp.PREFIX}.training_set"]}
            for one in versions:
                found[one["name"], str(one["version"])] = shown
            if not versions:
                found[model.name, ""] = shown
        # Copies of a version keep its tags, and are no versions of the logged model.
        for copy in client.search_model_versions(wanted, max_results=10_000):
            shown = {"model_id": copy.model_id, "run_id": copy.run_id, "training_set": copy.tags[f"{stamp.PREFIX}.training_set"]}
            found.setdefault((copy.name, str(copy.version)), shown)
        return [one for (name, version), shown in sorted(found.items()) if (one := _shown(name, version, shown)) is not None]


def set_alias(name: str, alias: str, version: int | str | None, *, approver: str | None = None, store: FeatureStore | None = None) -> None:
    """Let an alias of a registered model stand for a version, None for none any more, and record who approved it.

    Raises: NotFound for a model or version that is not there; RequestError for one without a stamp.
    """
    check_store(store)
    own = store if store is not None else FeatureStore()
    tracking.use(own.settings)
    client = mlflow.MlflowClient()
    with asking("model", f"models:/{name}{f'@{alias}' if version is None else f'/{version}'}"):
        meant = client.get_model_version_by_alias(name, alias) if version is None else client.get_model_version(name, str(version))
    info = stamp.stamped_info(f"models:/{name}/{meant.version}", own.settings)
    stamped = info.metadata[stamp.PREFIX]
    with asking("model", name):
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, str(meant.version))
    event = model_events.Event(
        event="alias removed" if version is None else "alias set",
        model=name,
        version=str(meant.version),
        model_id=info.model_id,
        run_id=info.run_id,
        training_set=stamped["training_set"],
        snapshots={table.rpartition(".")[2]: None if at is None else int(at) for table, at in stamped["snapshots"].items()},
        alias=alias,
        approver=approver,
    )
    model_events.record_events(own.catalog, own.settings, [event])
    if store is None:
        own.close()


def _logged(wanted: str) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    if experiments:
        yield from mlflow.search_logged_models(experiment_ids=experiments, filter_string=wanted, output_format="list")


def _shown(name: str, version: str, facts: dict[str, Any]) -> dict[str, Any] | None:
    """A row; None for a version that was deleted since."""
    if not version:
        return {"model": name, "version": None, "aliases": [], "model_uri": f"models:/{facts['model_id']}", **facts}
    try:
        # Not by a search, which leaves aliases out.
        aliases = mlflow.MlflowClient().get_model_version(name, version).aliases
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return {"model": name, "version": version, "aliases": list(aliases), "model_uri": f"models:/{name}/{version}", **facts}
