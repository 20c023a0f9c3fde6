"""Answer requests for predictions: find the models, load those that are not in memory, and predict in the threads of predictions."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import Request, Response
from starlette.background import BackgroundTask

from featurestore.access.rights import Rights
from featurestore.errors import FeatureStoreError, ModelError
from featurestore.masking import logger_of
from featurestore.models.prediction_log.log import PredictionLog
from featurestore.pipelines.online_lookup.lookup_json import count_statuses
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.records import model_events
from featurestore.records.recorded_models import models_after
from featurestore.records.traffic import TrafficSplits
from featurestore.records.traffic_split import TrafficSplit
from featurestore.server import request_ids
from featurestore.server.access.access import rights_of
from featurestore.server.metrics import Metrics
from featurestore.server.models import split_prediction
from featurestore.server.models.pace import Pace
from featurestore.server.models.restricted import restricted_reader
from featurestore.server.models.shadows import Shadows, ShadowTask, score_and_log
from featurestore.server.predictions import Predictions
from featurestore.server.requests.body import Record
from featurestore.server.requests.predictions import NamesOf
from featurestore.server.watcher import Watcher
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.row_places import RowPlaces

if TYPE_CHECKING:
    from featurestore.models import LoadedModel, LoadedModels
    from featurestore.models.serving.alias_swap import Behind
    from featurestore.models.serving.alias_watch import AliasWatch
    from featurestore.models.serving.arms import ArmModel, Arms
    from featurestore.models.serving.loaded_model import Finished

logger = logger_of(__name__)

LOADS_AT_ONCE = 4
"""Requests of a process that ask MLflow, or load models, at the same time. They wait in threads of their own."""
TRAFFIC_SECONDS = 0.4
"""How often a process looks for changed splits: all servers follow one within a second."""


@dataclass(frozen=True)
class Selection:
    """The registered model that a request names, and the version or alias, if it names one."""

    name: str
    version: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Question:
    """The rows and parameters of a request, its id, the form of its answer, and the places of its rows in errors.

    `rows` gets the names of rows without names from the function that it is called with.
    """

    rows: Callable[[NamesOf], list[Record]]
    params: dict[str, Any] | None
    request_id: str
    encode: Callable[[Prediction], bytes]
    places: RowPlaces


Readers = Mapping["LoadedModel", Rights | None]
"""As whom each model looks up features; None: all of them."""


class _Predicted(NamedTuple):
    """The body of an answer, the alias that answered each row of a split, and what is still to be logged before it is sent."""

    content: bytes
    arms: Sequence[str]
    unlogged: Sequence[Callable[[], bool]]


class Predictor:
    """The models of a server process, and the splits of their traffic."""

    def __init__(
        self, store: FeatureStore, predictions: Predictions, metrics: Metrics, prediction_log: PredictionLog, *, reads_locally: bool
    ) -> None:
        """`reads_locally`: the online store is read without waiting for a network."""
        self._store, self._predictions, self._metrics, self._prediction_log = store, predictions, metrics, prediction_log
        self._pace, self._never_waits = Pace(), reads_locally and not prediction_log.waits_for_disk
        self._loads = Predictions(store.settings, at_once=LOADS_AT_ONCE)
        self._lock = threading.Lock()
        self._loaded: LoadedModels | None = None
        self._watch: AliasWatch | None = None
        self._arms: Arms | None = None
        self._splits = TrafficSplits(store.backend.runtime, self._forget_aliases)
        self._shadows = Shadows(self._find_shadows, partial(score_and_log, prediction_log), metrics.count_shadow)
        # A thread of its own: an online store that does not respond must not delay a change of traffic.
        self._watcher = Watcher("traffic of models", TRAFFIC_SECONDS, self._splits.refresh)

    def load_aliased(self, stopped: Callable[[], bool]) -> None:
        """Load all model versions with an alias: importing MLflow and a model's library takes seconds. `stopped` ends it early."""
        try:
            runtime = self._store.backend.runtime
            events = model_events.list_events(runtime)
            if not events or stopped():
                # No model was ever logged: there is nothing to ask MLflow, whose import takes seconds.
                return
            loaded = self._loaded_models()
            loaded.load_aliased(sorted({model.name for model in models_after(events) if model.version is not None}), stopped)
            if not stopped():
                # Lists of models need what MLflow says: the first look reads all versions.
                runtime.look_at_models()
        except FeatureStoreError as error:
            logger.warning("models with an alias were not loaded at startup; each is loaded at its first request: %s", error)

    def start(self) -> None:
        """Begin to follow changes of traffic."""
        self._watcher.start()

    def behind(self) -> "Sequence[Behind]":
        """The aliases whose version cannot be loaded, so that the version before still answers."""
        return [] if self._loaded is None else self._loaded.behind()

    def alias_problems(self) -> Sequence[object]:
        """The aliases that do not answer as they should, as texts: those of `behind`, and those of splits that were removed in MLflow."""
        if self._loaded is None:
            return []
        # Imported here, as in `_loaded_models`.
        from featurestore.models.serving.arms import removed_aliases  # noqa: PLC0415

        return [*self._loaded.behind(), *removed_aliases(self._loaded, self._splits.in_force())]

    def follow_aliases(self) -> None:
        """Take up at once to which versions aliases have moved: MLflow says that a model has changed."""
        if self._watch is not None:
            self._watch.hurry()

    def close(self) -> None:
        """End the idle threads of predictions, and stop to follow changes of traffic and aliases."""
        self._watcher.stop()
        self._shadows.close()
        if self._watch is not None:
            self._watch.stop()
        self._predictions.close()
        self._loads.close()

    async def find(self, request: Request, selected: Selection) -> "LoadedModel":
        """The model that answers, loaded if it is not in memory; of a split, the one that answers most.

        Raises: as `LoadedModels.get`; Busy, Timeout.
        """
        split = await self._split(request, selected)
        if split is not None:
            arms = await self._find_arms(request, split)
            return arms[max(split.answering, key=lambda alias: split.places[alias])].model
        requested = (selected.name, selected.version, selected.alias)
        model = None if self._loaded is None else self._loaded.find_loaded(*requested)
        if model is None:
            # Not in the threads of predictions: MLflow may be slow, and models that are in memory keep predicting.
            model = await self._loads.run(request, selected.name, lambda: self._loaded_models().get(*requested))
        return model

    async def answer(self, request: Request, selected: Selection, question: Question) -> Response:
        """Predict, and return the response. Raises: as `find`; RequestError and TypeMismatch naming row and field; ModelError."""
        rights = rights_of(request.scope)
        split = await self._split(request, selected)
        if split is None:
            model = await self.find(request, selected)
            rows, readers = question.rows(model.positional_names), {model: restricted_reader(rights, model)}
            work = partial(self._predict, model, rows, question, selected.alias, readers)
        else:
            arms = await self._find_arms(request, split)
            rows = question.rows(split_prediction.positional_names(split, arms))
            readers = {arm.model: restricted_reader(rights, arm.model) for arm in arms.values()}
            work = partial(self._predict_split, split, arms, rows, question, readers)
        # What policies show may need the engine or the catalog.
        unrestricted = not any(readers.values())
        if self._never_waits and unrestricted and all(self._pace.is_brief(model, len(rows)) for model in readers):
            predicted = work(wait=False)
            for record in predicted.unlogged:
                await self._predictions.run(request, selected.name, record)
        else:
            predicted = await self._predictions.run(request, selected.name, work)
        after = None
        if split is not None and split.shadow and self._prediction_log.is_sampled(question.request_id):
            # After the answer was sent: it must not wait for a thread that shares the interpreter.
            asker = None if rights.is_unlimited else rights
            task = ShadowTask(split, question.request_id, question.params, rows, range(len(rows)), predicted.arms, asker)
            after = BackgroundTask(self._score_beside, task)
        return Response(
            predicted.content, media_type="application/json", headers={request_ids.HEADER: question.request_id}, background=after
        )

    async def _score_beside(self, task: ShadowTask) -> None:
        self._shadows.put(task)

    def _find_shadows(self, split: TrafficSplit) -> "Sequence[ArmModel]":
        return self._all_arms().shadows(split)

    async def _split(self, request: Request, selected: Selection) -> TrafficSplit | None:
        """The split that a request goes through; None if it names a version or alias, or there is none. Raises: NotReady."""
        if selected.version is not None or selected.alias is not None:
            return None
        if not self._splits.is_loaded:
            # At the first request, or while the catalog has not responded yet.
            await self._loads.run(request, selected.name, self._splits.refresh)
        return self._splits.of(selected.name)

    async def _find_arms(self, request: Request, split: TrafficSplit) -> "Mapping[str, ArmModel]":
        arms = None if self._arms is None else self._arms.find(split, load=False)
        if arms is None:
            arms = await self._loads.run(request, split.model, lambda: self._load_arms(split))
        return arms

    def _load_arms(self, split: TrafficSplit) -> "Mapping[str, ArmModel]":
        arms = self._all_arms().find(split, load=True)
        if arms is None:
            raise AssertionError("what is loaded was found")
        return arms

    def _all_arms(self) -> "Arms":
        loaded = self._loaded_models()
        if self._arms is None:
            # Imported here, as in `_loaded_models`.
            from featurestore.models.serving.arms import Arms  # noqa: PLC0415

            self._arms = Arms(loaded)
        return self._arms

    def _predict(
        self, model: "LoadedModel", rows: list[Record], question: Question, alias: str | None, readers: "Readers", wait: bool = True
    ) -> "_Predicted":
        with self._pace.measure(model, len(rows)):
            finished = model.finish(rows, question.params, question.places, readers[model])
            content = _encode(finished.prediction, question)
            unlogged = _record([partial(self._prediction_log.record, finished, question.request_id, arm=alias)], wait)
        self._count_rows(finished)
        return _Predicted(content, (), unlogged)

    def _predict_split(
        self,
        split: TrafficSplit,
        arms: "Mapping[str, ArmModel]",
        rows: list[Record],
        question: Question,
        readers: "Readers",
        wait: bool = True,
    ) -> "_Predicted":
        parts: list[tuple[Finished, str, list[int]]] = []

        def predict(arm: "ArmModel", part: list[Record], numbers: list[int]) -> Prediction:
            with self._pace.measure(arm.model, len(part)):
                finished = arm.model.finish(part, question.params, question.places.part(numbers), readers[arm.model])
            parts.append((finished, arm.alias, numbers))
            return finished.prediction

        assigned = split_prediction.assign_rows(split, arms, rows, question.places)
        prediction = split_prediction.predict_split(split, assigned, rows, predict)
        content = _encode(prediction, question)
        # All or nothing: what is not answered is not logged.
        now = times.now()
        unlogged = _record(
            [
                partial(self._prediction_log.record, finished, question.request_id, arm=alias, rows=numbers, predicted_at=now)
                for finished, alias, numbers in parts
            ],
            wait,
        )
        for finished, _, _ in parts:
            self._count_rows(finished)
        return _Predicted(content, prediction.arms or (), unlogged)

    def _count_rows(self, finished: "Finished") -> None:
        self._metrics.count_rows(finished.model.stamp.plan.service, count_statuses(finished.prediction.status))

    def _forget_aliases(self, name: str) -> None:
        """Ask MLflow again about a model whose split has changed: an alias in it may be newer than the last answer."""
        if self._loaded is not None:
            self._loaded.expire(name)

    def _loaded_models(self) -> "LoadedModels":
        with self._lock:
            if self._loaded is None:
                # Imported here: a server that serves no models does not need MLflow, and starts faster without it.
                from featurestore.models import LoadedModels  # noqa: PLC0415
                from featurestore.models.serving.alias_watch import AliasWatch  # noqa: PLC0415

                self._loaded = LoadedModels(self._store, followed=True)
                self._watch = AliasWatch(self._store, self._loaded)
                self._watch.start()
            return self._loaded


def _record(records: Sequence[Callable[..., bool]], wait: bool) -> list[Callable[[], bool]]:
    """Log what is answered. Without `wait`, returns what a thread is still to log, since that may take long."""
    return [record for record in records if not record(wait=wait)]


def _encode(prediction: Prediction, question: Question) -> bytes:
    try:
        return question.encode(prediction)
    except TypeError as error:
        raise ModelError(f"the predictions of the model {prediction.model} cannot be written as JSON", reason=str(error)) from error
