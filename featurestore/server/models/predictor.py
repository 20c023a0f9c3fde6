"""Answer requests for predictions: find the model, load it if it is not in memory, and predict in the threads of predictions."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from featurestore.errors import FeatureStoreError, ModelError
from featurestore.models.prediction_log.log import PredictionLog
from featurestore.pipelines.lookup_json import Answer, count_statuses
from featurestore.pipelines.prediction import Prediction
from featurestore.records import model_events
from featurestore.server import request_ids
from featurestore.server.metrics import Metrics
from featurestore.server.predictions import Predictions
from featurestore.server.requests.body import Record
from featurestore.server.requests.predictions import NamesOf
from featurestore.store import FeatureStore

if TYPE_CHECKING:
    from featurestore.models import LoadedModel, LoadedModels

log = logging.getLogger(__name__)

LOADS_AT_ONCE = 4
"""Requests of a process that ask MLflow, or load models, at the same time. They wait in threads of their own."""


@dataclass(frozen=True)
class Selection:
    """The registered model that a request names, and the version or alias, if it names one."""

    name: str
    version: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Question:
    """The rows and parameters of a request, its id, and the form of its answer.

    `rows` gets the names of rows without names from the function that it is called with.
    """

    rows: Callable[[NamesOf], list[Record]]
    params: dict[str, Any] | None
    request_id: str
    encode: Callable[[Prediction], bytes]


class Predictor:
    """The models of a server process."""

    def __init__(self, store: FeatureStore, predictions: Predictions, metrics: Metrics, prediction_log: PredictionLog) -> None:
        self._store, self._predictions, self._metrics, self._prediction_log = store, predictions, metrics, prediction_log
        self._loads = Predictions(store.settings, at_once=LOADS_AT_ONCE)
        self._lock = threading.Lock()
        self._loaded: LoadedModels | None = None

    def load_aliased(self, stopped: Callable[[], bool]) -> None:
        """Load all model versions with an alias: importing MLflow and a model's library takes seconds. `stopped` ends it early."""
        try:
            if not model_events.list_events(self._store.backend.runtime):
                # No model was ever logged: there is nothing to ask MLflow, whose import takes seconds.
                return
            names = sorted({row.model for row in self._store.models() if row.version is not None})
            if names and not stopped():
                self._loaded_models().load_aliased(names, stopped)
        except FeatureStoreError as error:
            log.warning("models with an alias were not loaded at startup; each is loaded at its first request: %s", error)

    def close(self) -> None:
        """End the idle threads of predictions."""
        self._predictions.close()
        self._loads.close()

    async def find(self, request: Request, selected: Selection) -> "LoadedModel":
        """The model, loaded if it is not in memory. Raises: as `LoadedModels.get`; Busy, Timeout."""
        wanted = (selected.name, selected.version, selected.alias)
        model = None if self._loaded is None else self._loaded.find_loaded(*wanted)
        if model is None:
            # Not in the threads of predictions: MLflow may be slow, and models that are in memory go on predicting.
            model = await self._loads.run(request, selected.name, lambda: self._loaded_models().get(*wanted))
        return model

    async def answer(self, request: Request, selected: Selection, question: Question) -> Response:
        """Predict, and return the response. Raises: as `find`; RequestError and TypeMismatch naming row and field; ModelError."""
        model = await self.find(request, selected)
        rows = question.rows(model.positional_names)
        answer = await self._predictions.run(request, selected.name, partial(self._predict, model, rows, question, selected.alias))
        self._metrics.count_rows(model.stamp.plan.service, answer.counts)
        return Response(answer.content, media_type="application/json", headers={request_ids.HEADER: question.request_id})

    def _loaded_models(self) -> "LoadedModels":
        with self._lock:
            if self._loaded is None:
                # Imported here: a server that serves no models does not need MLflow, and starts faster without it.
                from featurestore.models import LoadedModels  # noqa: PLC0415

                self._loaded = LoadedModels(self._store)
            return self._loaded

    def _predict(self, model: "LoadedModel", rows: list[Record], question: Question, alias: str | None) -> Answer:
        finished = model.finish(rows, question.params)
        try:
            content = question.encode(finished.prediction)
        except TypeError as error:
            raise ModelError(f"the predictions of the model {model.name} cannot be written as JSON", reason=str(error)) from error
        self._prediction_log.record(finished, question.request_id, arm=alias)
        return Answer(content, count_statuses(finished.prediction.status))
