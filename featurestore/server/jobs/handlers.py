"""The function that runs each kind of job, from its JSON request, in the job's process."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.pipelines.materialization.materialize import ViewProgress
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.server.jobs.job import FILLING
from featurestore.store import FeatureStore
from featurestore.values.arguments import WAIT
from featurestore.values.result import to_dicts

TRAINING_SET = "training set"
MATERIALIZATION = "materialization"
PUBLICATION = "publication"
VERIFICATION = "verification"
REBUILD = "rebuild"
COMPARISON = "comparison"
MAINTENANCE = "maintenance"
REPAIR = "repair"

Report = Callable[[dict[str, Any]], None]
"""Takes JSON-ready progress."""
Handler = Callable[[FeatureStore, Path, Mapping[str, Any], Report], Any]
"""Runs a job, from its folder and its request. Returns its JSON-ready result or a `PartialResult`."""


@dataclass(frozen=True)
class PartialResult:
    """The result and the error of a job that failed after some of its work succeeded; the result is JSON-ready."""

    result: Any
    error: FeatureStoreError


def training_set(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> None:
    """Join and store a prepared training set. It has no result: the training set is read from the catalog."""
    backend = store.backend
    backend.store_training_set(backend.load_spooled(folder), lambda progress: report(asdict(progress)))


def materialization(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]] | PartialResult:
    """Materialize views; the results of those that succeeded."""

    def on_progress(progress: ViewProgress) -> None:
        report(asdict(progress))

    runs = store.materialize(request["names"], request["start"], request["end"], on_progress, failures="return", wait=_wait(request))
    result, error = [run.to_dict() for run in runs], runs.error
    return result if error is None else PartialResult(result, error)


def publication(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """Publish feature tables to the online store."""
    return to_dicts(store.publish(request["names"], request["full"]))


def verification(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """Compare the online store with the feature tables."""
    return to_dicts(store.verify_online(request["names"], request["sample"]))


def rebuild(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Rebuild a training set and verify its digest."""
    return rebuild_result(store.rebuild(request["id"]))


def comparison(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Compare two training sets."""
    return store.compare(request["a"], request["b"]).to_dict()


def maintenance(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """Run maintenance on all tables; the request's ages are in microseconds."""
    drop_age = request["drop_superseded_after"]
    older_than = timedelta(microseconds=request["older_than"])
    drop_superseded_after = None if drop_age is None else timedelta(microseconds=drop_age)
    return to_dicts(store.maintain(older_than, request["dry_run"], drop_superseded_after, _wait(request)))


def repair(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """Roll back damaged tables."""
    return to_dicts(store.repair(request["dry_run"]))


def filling(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[str] | None:
    """Publish again what the online store has lost, unless another server is doing so."""
    return store.backend.fill_online()


def rebuild_result(training_set: TrainingSet) -> dict[str, Any]:
    """The result of a rebuild whose digest matched."""
    manifest = training_set.manifest
    return {"id": training_set.id, "verified": True, "digest": training_set.digest, "rows": manifest["rows"], "manifest": manifest}


def _wait(request: Mapping[str, Any]) -> timedelta:
    # Requests that an earlier release queued have none.
    return timedelta(microseconds=request["wait"]) if "wait" in request else WAIT


HANDLERS: Mapping[str, Handler] = {
    TRAINING_SET: training_set,
    MATERIALIZATION: materialization,
    PUBLICATION: publication,
    VERIFICATION: verification,
    REBUILD: rebuild,
    COMPARISON: comparison,
    MAINTENANCE: maintenance,
    REPAIR: repair,
    FILLING: filling,
}
