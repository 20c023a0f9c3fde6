"""The models of a store, as the events recorded of them left them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore.records import model_events
from featurestore.records.runtime import Runtime


@dataclass(frozen=True)
class RecordedModel:
    """A registered version, such as `churn/3`, or a logged model that is not registered: then `version` is None.

    `tables` and `training_sets` are those of all its events; the other fields are those of its newest one. `snapshots` has ids as text.
    """

    name: str
    version: str | None
    model_id: str | None
    run_id: str | None
    training_set: str
    snapshots: Mapping[str, str | None]
    metrics: Mapping[str, float]
    at: str
    stage: str | None = None
    aliases: tuple[str, ...] = ()
    tables: frozenset[str] = field(default=frozenset())
    training_sets: frozenset[str] = field(default=frozenset())

    @property
    def label(self) -> str:
        """The name with the version."""
        return self.name if self.version is None else f"{self.name}/{self.version}"


def recorded_models(runtime: Runtime) -> list[RecordedModel]:
    """Every model and version that exists, oldest first, after a look at what MLflow says of them now."""
    runtime.look_at_models()
    versions = models_after(model_events.list_events(runtime))
    registered = {model.model_id for model in versions if model.version is not None}
    return [model for model in versions if model.version is not None or model.model_id not in registered]


def registered_models(runtime: Runtime) -> list[RecordedModel]:
    """Every registered version that exists, oldest first, after a look at what MLflow says of them now."""
    return [model for model in recorded_models(runtime) if model.version is not None]


def models_after(events: Iterable[Mapping[str, Any]]) -> list[RecordedModel]:
    """The models and versions that exist after these events (the newest first), oldest first; registered ones also as logged ones."""
    models: dict[tuple[str, str | None, str | None], RecordedModel] = {}
    aliases: dict[tuple[str, str], str] = {}
    for event in reversed(list(events)):
        name, version = event["model"], event["version"]
        key = (name, version, event["model_id"] if version is None else None)
        if event["event"] == "deleted":
            models.pop(key, None)
        elif event["event"] == "alias set":
            aliases[name, event["alias"]] = version
        elif event["event"] == "alias removed":
            if aliases.get((name, event["alias"])) == version:
                del aliases[name, event["alias"]]
        else:
            models[key] = _after(models.get(key), event)
    named: dict[tuple[str, str | None], list[str]] = {}
    for (name, alias), version in aliases.items():
        named.setdefault((name, version), []).append(alias)
    return [replace(model, aliases=tuple(sorted(named.get((model.name, model.version), ())))) for model in models.values()]


def _after(model: RecordedModel | None, event: Mapping[str, Any]) -> RecordedModel:
    stage = event["stage"] or (model.stage if model else None)
    return RecordedModel(
        name=event["model"],
        version=event["version"],
        # MLflow's searches of versions do not say it.
        model_id=event["model_id"] or (model.model_id if model else None),
        run_id=event["run_id"],
        training_set=event["training_set"],
        snapshots=event["snapshots"],
        metrics=event["metrics"] or (model.metrics if model else {}),
        at=model.at if model and event["event"] in ("stage set", "metrics logged") else event["at"],
        stage=None if stage == "None" else stage,
        tables=frozenset(event["snapshots"]) | (model.tables if model else frozenset()),
        training_sets=frozenset({event["training_set"]}) | (model.training_sets if model else frozenset()),
    )
