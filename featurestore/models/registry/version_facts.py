"""What MLflow has of a version of a model: its artifacts with the stamp, its tags and its run."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurestore.models.mlflow_access import tracking
from featurestore.models.mlflow_access.deleted import naming_deleted
from featurestore.models.mlflow_access.mlflow_client import local_path, mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.mlmodel import read_mlmodel
from featurestore.models.registry import model_versions
from featurestore.models.stamps.stamp import FOLDER, MANIFEST, ORIGINAL, PREFIX, Stamp, read_stamp
from featurestore.records.runtime import Runtime


@dataclass(frozen=True)
class VersionFacts:
    """A version, or a logged model (`version` None), with its downloaded artifacts.

    `metadata` is the summary of the stamp in the MLmodel file, `tags` those of the version and of the logged model. `run` is MLflow's run,
    None if there is no such run, or it is deleted.
    """

    name: str
    version: str | None
    model_id: str | None
    run_id: str | None
    folder: Path
    stamp: Stamp
    manifest: Mapping[str, Any]
    metadata: Mapping[str, Any]
    tags: Mapping[str, Mapping[str, str]]
    run: Any
    metrics: Mapping[str, float]
    aliases: tuple[str, ...]
    stage: str | None

    @property
    def title(self) -> str:
        """The name with the version."""
        return self.name if self.version is None else f"{self.name}/{self.version}"


@dataclass(frozen=True)
class FoundVersion:
    """A version of a registered model with the tags that MLflow has of it, or a logged model (`version` None), at an address."""

    uri: str
    name: str
    version: str | None
    tags: Mapping[str, str]

    @property
    def training_set(self) -> tuple[str, str] | None:
        """The id and the digest of the training set, as the tags say, which anybody may have edited; None if they say nothing."""
        names = (f"{PREFIX}.training_set", f"{PREFIX}.digest")
        return (self.tags[names[0]], self.tags[names[1]]) if all(name in self.tags for name in names) else None


@dataclass(frozen=True)
class DownloadedVersion:
    """The artifacts of a version, or of a logged model (`version` None), in a folder of this machine."""

    name: str
    version: str | None
    folder: Path
    stamp: Stamp


@contextmanager
def read_facts(model_uri: str, runtime: Runtime) -> Iterator[VersionFacts]:
    """Download a model and read what MLflow says of it. Raises: as `find_version` and `download_version`."""
    with download_version(find_version(model_uri, runtime), runtime) as downloaded:
        yield facts_of(downloaded)


def find_version(model_uri: str, runtime: Runtime) -> FoundVersion:
    """Ask MLflow which version is at an address. Raises: NotFound, also for one that was deleted; RequestError; NotReady."""
    tracking.use_tracking(runtime.settings)
    with naming_deleted(runtime, model_uri):
        return FoundVersion(model_uri, *model_versions.tagged_version(model_uri))


@contextmanager
def download_version(found: FoundVersion, runtime: Runtime) -> Iterator[DownloadedVersion]:
    """Download a model, and read its stamp.

    Raises: NotFound, also for one that was deleted; RequestError for a model without a stamp; NotReady.
    """
    address = f"models:/{found.name}/{found.version}" if found.version is not None else found.uri
    with tempfile.TemporaryDirectory(prefix="featurestore-audit-") as scratch:
        with naming_deleted(runtime, found.uri), translate_mlflow_errors("model", found.uri):
            folder = Path(mlflow.artifacts.download_artifacts(local_path(address), dst_path=scratch))
        yield DownloadedVersion(found.name, found.version, folder, read_stamp(folder, found.uri))


def facts_of(downloaded: DownloadedVersion) -> VersionFacts:
    """What MLflow says of a version now. Raises: NotFound; NotReady."""
    name, version, folder = downloaded.name, downloaded.version, downloaded.folder
    meta = read_mlmodel(folder / ORIGINAL)
    client = mlflow.MlflowClient()
    registered, tags = None, {}
    if version is not None:
        with translate_mlflow_errors("model", f"models:/{name}/{version}"):
            registered = client.get_model_version(name, version)
        tags["version"] = dict(registered.tags)
    logged = _get_logged_model(client, meta.model_id)
    if logged is not None:
        tags["logged model"] = dict(logged.tags)
    run_id = meta.run_id or (registered.run_id if registered is not None else None)
    run = _run(client, run_id)
    return VersionFacts(
        name=name,
        version=version,
        model_id=meta.model_id,
        run_id=run_id,
        folder=folder,
        stamp=downloaded.stamp,
        manifest=json.loads((folder / FOLDER / MANIFEST).read_text()),
        metadata=(meta.metadata or {}).get(PREFIX, {}),
        tags=tags,
        run=run,
        metrics=_metrics(run, logged),
        aliases=tuple(sorted(registered.aliases)) if registered is not None else (),
        stage=_stage(registered),
    )


def metrics_of(name: str, version: str) -> dict[str, float]:
    """The metrics of a registered version: those of its run, and those logged for the model itself. Raises: NotFound; NotReady."""
    client = mlflow.MlflowClient()
    with translate_mlflow_errors("model", f"models:/{name}/{version}"):
        registered = client.get_model_version(name, version)
    return _metrics(_run(client, registered.run_id), _get_logged_model(client, registered.model_id))


def _metrics(run: Any, logged: Any) -> dict[str, float]:
    of_run = {} if run is None else dict(run.data.metrics)
    return {**of_run, **({} if logged is None else {metric.key: metric.value for metric in logged.metrics or ()})}


def _get_logged_model(client: Any, model_id: str | None) -> Any:
    """MLflow's logged model; None if there is none any more."""
    return None if not model_id else _existing(lambda: client.get_logged_model(model_id), f"models:/{model_id}")


def _run(client: Any, run_id: str | None) -> Any:
    """MLflow's run; None if there is none any more, or it is deleted."""
    run = None if not run_id else _existing(lambda: client.get_run(run_id), run_id)
    return None if run is None or run.info.lifecycle_stage == "deleted" else run


def _existing(read: Any, name: str) -> Any:
    try:
        return read()
    except mlflow.exceptions.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        with translate_mlflow_errors("object", name):
            raise


def _stage(registered: Any) -> str | None:
    stage = None if registered is None else str(registered.current_stage or "None")
    return None if stage == "None" else stage
