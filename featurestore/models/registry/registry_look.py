"""Look at what MLflow says of models now, and record as events what was done through MLflow itself since the last look."""

import hashlib
import json
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.models.mlflow_access import location
from featurestore.models.mlflow_access.answers import Answers
from featurestore.models.mlflow_access.mlflow_client import translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.models.registry.mlflow_registry import MlflowModels, MlflowRegistry, Stamped
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.records import alias_changes, model_events
from featurestore.records.model_events import ELSEWHERE, Event
from featurestore.records.recorded_models import RecordedModel, models_after
from featurestore.records.runtime import Runtime
from featurestore.redaction import without_secrets

logger = logger_of(__name__)

REQUEST_SECONDS = 1.0
"""How long a request of a server waits for a look."""
NEW_SECONDS = 5.0
"""Requests of a server share the look of so many seconds."""
RUNS_TRIED = 5
READS = 5
"""Reads of MLflow until no event was recorded meanwhile."""


class RegistryLook:
    """The looks of one process at the MLflow of one store; it remembers what has not changed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._registries: dict[str, MlflowRegistry] = {}
        self._foreign: set[str] = set()
        self._requests = Answers(self._look, seconds=NEW_SECONDS, wait=REQUEST_SECONDS, grace=REQUEST_SECONDS)

    def look(self, brief: bool, changed: Collection[str] = ()) -> None:
        """Record what happened since the last look. If MLflow does not respond, that is logged, and what is recorded stays.

        `brief`: wait for a moment only, and share the look of others. `changed`: models whose versions are read again.
        """
        try:
            uri = location.tracking_uri(self._runtime.settings)
            if uri is None:
                return
            if brief:
                self._requests.get(uri)
            else:
                self._look(uri, changed)
        except FeatureStoreError as error:
            logger.warning("models are listed as they were when MLflow last responded: %s", error)

    def _look(self, uri: str, changed: Collection[str] = ()) -> None:
        with self._lock, limit_time(), translate_mlflow_errors("model", "registry", uri):
            registry = self._registries.setdefault(uri, MlflowRegistry(uri))
            registry.forget(changed)
            models, events, pending = self._read(registry)
            changes = [event for event in self._changes(registry, models, events) if alias_changes.mark_of(event) not in pending]
            if changes:
                model_events.record_events(self._runtime.catalog, self._runtime.settings, changes, once=_batch(changes, events))

    def _read(self, registry: MlflowRegistry) -> tuple[MlflowModels, list[dict[str, Any]], set[str]]:
        """What MLflow says, the events of the same time, and the marks of what is being changed: recorded, and not yet in MLflow."""
        before = alias_changes.read_trail(self._runtime)
        for _ in range(READS):
            models = registry.read()
            after = alias_changes.read_trail(self._runtime, before)
            if after.snapshot_id == before.snapshot_id:
                break
            before = after
        return models, after.events, {*before.pending, *after.pending}

    def _changes(self, registry: MlflowRegistry, models: MlflowModels, events: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        recorded = models_after(events)
        known_sets = {event["training_set"] for event in events}
        logged = {model.model_id for model in recorded if model.version is None}
        versions = {(model.name, model.version): model for model in recorded if model.version is not None}
        for stamped in (*models.logged.values(), *models.versions.values()):
            known = stamped.model_id in logged if stamped.version is None else (stamped.name, stamped.version) in versions
            if not known and self._is_own(known_sets, stamped.training_set):
                event = _event("logged" if stamped.version is None else "registered", stamped)
                yield replace(event, metrics=registry.metrics_of(stamped.run_id))
        yield from self._new_metrics(registry, known_sets, models, recorded)
        yield from self._deletions(registry, models, recorded)
        for key, stamped in models.versions.items():
            if self._is_own(known_sets, stamped.training_set):
                before = versions[key].stage if key in versions else None
                if (before or "None") != stamped.stage:
                    yield replace(_event("stage set", stamped), stage=stamped.stage)
        yield from self._alias_changes(known_sets, models, recorded)

    def _new_metrics(
        self, registry: MlflowRegistry, known_sets: set[str], models: MlflowModels, recorded: Sequence[RecordedModel]
    ) -> Iterator[Event]:
        """Metrics that were logged after the model: what was recorded of it then lacks them."""
        for model in recorded:
            stamped = models.logged.get(model.model_id or "") if model.version is None else models.versions.get((model.name, model.version))
            if stamped is None or not self._is_own(known_sets, stamped.training_set):
                continue
            if all(_same(model.metrics.get(name), value) for name, value in stamped.metrics.items()):
                continue
            # Searches of MLflow return 0 for NaN.
            metrics = {**model.metrics, **registry.metrics_of(stamped.run_id)}
            if json.dumps(metrics, sort_keys=True) != json.dumps(dict(model.metrics), sort_keys=True):
                yield replace(_event("metrics logged", stamped), metrics=metrics)

    def _deletions(self, registry: MlflowRegistry, models: MlflowModels, recorded: Sequence[RecordedModel]) -> Iterator[Event]:
        gone = [model for model in recorded if not _exists(models, model)]
        if not gone:
            return
        runs = list(dict.fromkeys(model.run_id for model in reversed(recorded) if model.run_id))[:RUNS_TRIED]
        if len(gone) == len(recorded) and not registry.has_run(runs):
            place = without_secrets(registry.uri)
            logger.warning(
                "MLflow at %s knows no model of this store and no run of them; it is another MLflow, see featurestore doctor", place
            )
            return
        for model in gone:
            snapshots = {table: None if at is None else int(at) for table, at in model.snapshots.items()}
            stamped = Stamped(model.name, model.version, model.model_id, model.run_id, model.training_set, snapshots)
            yield from (replace(_event("alias removed", stamped), alias=alias) for alias in model.aliases)
            yield _event("deleted", stamped)

    def _alias_changes(self, known_sets: set[str], models: MlflowModels, recorded: Sequence[RecordedModel]) -> Iterator[Event]:
        before = {(model.name, alias): model for model in recorded for alias in model.aliases}
        for (name, alias), version in models.aliases.items():
            stamped = models.versions[name, version]
            set_before = before.get((name, alias))
            if (set_before is None or set_before.version != version) and self._is_own(known_sets, stamped.training_set):
                yield replace(_event("alias set", stamped), alias=alias)
        for (name, alias), model in before.items():
            # The aliases of deleted versions are removed with them.
            if (name, alias) not in models.aliases and _exists(models, model):
                yield replace(_event("alias removed", models.versions[name, str(model.version)]), alias=alias)

    def _is_own(self, known_sets: set[str], training_set: str) -> bool:
        """Whether a training set is of this store: several stores may share an MLflow."""
        if training_set in known_sets:
            return True
        if training_set in self._foreign:
            return False
        listed = {entry.id for entry in list_training_sets(self._runtime)}
        known_sets |= listed
        if training_set not in listed:
            self._foreign.add(training_set)
        return training_set in listed


def _same(recorded: float | None, value: float) -> bool:
    return recorded is not None and (recorded == value or math.isnan(recorded))


def _exists(models: MlflowModels, model: RecordedModel) -> bool:
    return model.model_id in models.logged if model.version is None else (model.name, model.version) in models.versions


def _event(event: str, stamped: Stamped) -> Event:
    return Event(
        event, stamped.name, stamped.version, stamped.model_id, stamped.run_id, stamped.training_set, stamped.snapshots, origin=ELSEWHERE
    )


def _batch(changes: Sequence[Event], events: Sequence[Mapping[str, Any]]) -> str:
    """An id of these changes after these events: two processes that find them at the same time record them once."""
    text = json.dumps([[len(events), events[0]["at"] if events else ""], *(list(map(str, vars(change).values())) for change in changes)])
    return hashlib.sha256(text.encode()).hexdigest()
