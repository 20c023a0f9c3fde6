"""What MLflow says of models and versions now: read in pages, and again only for the registered models that changed."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from featurestore.models.mlflow_access.mlflow_client import mlflow, name_filter
from featurestore.models.stamps.stamp import PREFIX, snapshot_tag

PAGE = 1000
TRAINING_SET = f"{PREFIX}.training_set"


@dataclass(frozen=True)
class Stamped:
    """A logged model or a version with a stamp, by its tags. `stage` is "None" for a version without one. `metrics` are those that MLflow
    keeps with the logged model.
    """

    name: str
    version: str | None
    model_id: str | None
    run_id: str | None
    training_set: str
    snapshots: Mapping[str, int | None]
    stage: str = "None"
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MlflowModels:
    """The stamped logged models by id, the stamped versions by name and number, and the versions of aliases by name and alias."""

    logged: Mapping[str, Stamped]
    versions: Mapping[tuple[str, str], Stamped]
    aliases: Mapping[tuple[str, str], str]


@dataclass
class MlflowRegistry:
    """Reads the stamped models of one MLflow; it remembers the versions of registered models that have not changed since."""

    uri: str
    _update_times: dict[str, int] = field(default_factory=dict)
    _versions: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def _client(self) -> Any:
        return mlflow.MlflowClient(self.uri)

    def read(self) -> MlflowModels:
        """All stamped models, their versions and aliases. The cost is that of the logged models and of the versions that changed."""
        logged = {model.model_id: _stamp_of(model) for model in self._search_logged_models()}
        models = {model.name: model for model in pages(self._client.search_registered_models)}
        self._read_versions(models)
        by_version = {
            (name, str(model_version.version)): model_version for name, versions in self._versions.items() for model_version in versions
        }
        versions = {
            key: stamped
            for key, model_version in by_version.items()
            if (stamped := _version(key, model_version, logged, by_version)) is not None
        }
        aliases = {
            (name, alias): str(version)
            for name, model in models.items()
            for alias, version in model.aliases.items()
            if (name, str(version)) in versions
        }
        return MlflowModels(logged, versions, aliases)

    def forget(self, names: Collection[str]) -> None:
        """Read the versions of these models again next time: MLflow does not note on a model that a tag of a version was changed."""
        for name in names:
            self._versions.pop(name, None)

    def has_run(self, run_ids: Collection[str]) -> bool:
        """Whether MLflow knows one of these runs: otherwise it is not the MLflow to which they were logged."""
        return any(self._has_run(run_id) for run_id in run_ids)

    def metrics_of(self, run_id: str | None) -> dict[str, float]:
        """The metrics of a run; none if there is no such run any more."""
        return dict(self._client.get_run(run_id).data.metrics) if run_id and self._has_run(run_id) else {}

    def _has_run(self, run_id: str) -> bool:
        try:
            self._client.get_run(run_id)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _search_logged_models(self) -> Iterator[Any]:
        experiments = [experiment.experiment_id for experiment in pages(self._client.search_experiments)]
        for first in range(0, len(experiments), PAGE):
            chunk, token = experiments[first : first + PAGE], None
            while True:
                page = self._client.search_logged_models(
                    chunk, filter_string=f"tags.`{TRAINING_SET}` LIKE '%'", max_results=PAGE, page_token=token
                )
                yield from page
                token = page.token
                if not token:
                    break

    def _read_versions(self, models: Mapping[str, Any]) -> None:
        """Read the versions of the models that are new, or changed since the newest change that was seen: those of the same moment too."""
        seen = max(self._update_times.values(), default=0)
        changed = [name for name, model in models.items() if name not in self._versions or _update_time(model) >= seen]
        if not self._versions:
            self._versions = {name: [] for name in models}
            for model_version in pages(self._client.search_model_versions):
                self._versions.setdefault(model_version.name, []).append(model_version)
        else:
            for name in changed:
                self._versions[name] = list(pages(self._client.search_model_versions, filter_string=name_filter(name)))
        self._versions = {name: self._versions[name] for name in models}
        self._update_times = {name: _update_time(model) for name, model in models.items()}


def snapshots_of(tags: Mapping[str, str]) -> dict[str, int | None]:
    """The snapshots in the tags of a stamp, by feature table without its namespace."""
    prefix = snapshot_tag("")
    snapshots = {name.removeprefix(prefix).rpartition(".")[2]: value for name, value in tags.items() if name.startswith(prefix)}
    return {table: int(value) if value.isdigit() else None for table, value in snapshots.items()}


def _stamp_of(model: Any) -> Stamped:
    newest = sorted(model.metrics or (), key=lambda metric: (metric.timestamp, metric.step or 0))
    metrics = {metric.key: metric.value for metric in newest}
    known = (model.model_id, model.source_run_id, model.tags[TRAINING_SET], snapshots_of(model.tags))
    return Stamped(model.name, None, *known, metrics=metrics)


def _version(
    key: tuple[str, str], version: Any, logged: Mapping[str, Stamped], versions: Mapping[tuple[str, str], Any], depth: int = 0
) -> Stamped | None:
    """The stamp of a version: of its own tags, of the logged model that it was registered from, or of the version that it copies.

    None: it has none.
    """
    identity = (*key, version.model_id or None, version.run_id or None)
    stage = str(version.current_stage or "None")
    origin: Stamped | None = logged.get(version.model_id or "") or logged.get(str(version.source).rpartition("/")[2])
    if TRAINING_SET in version.tags:
        metrics = {} if origin is None else origin.metrics
        return Stamped(*identity, version.tags[TRAINING_SET], snapshots_of(version.tags), stage, metrics)
    if origin is None and depth < 10 and str(version.source).startswith("models:/"):
        name, _, number = str(version.source).removeprefix("models:/").rpartition("/")
        copied = versions.get((name, number))
        origin = logged.get(number) if copied is None else _version((name, number), copied, logged, versions, depth + 1)
    if origin is None:
        return None
    return Stamped(*identity[:2], origin.model_id, origin.run_id, origin.training_set, origin.snapshots, stage, origin.metrics)


def _update_time(model: Any) -> int:
    return int(model.last_updated_timestamp or 0)


def pages(search: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(**arguments, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
