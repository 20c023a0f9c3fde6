"""Predictions over HTTP: a request has keys, and the features are looked up in the versions that the model was trained on."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from featurestore.errors import FeatureStoreError, ModelError
from featurestore.pipelines.lookup_json import Answer, count_statuses
from featurestore.records import model_events
from featurestore.server import json_body, responses
from featurestore.server.bounds import check_entities
from featurestore.server.metrics import Metrics
from featurestore.server.predictions import Predictions
from featurestore.server.requests import InvocationBody
from featurestore.server.routing import BareRoute, body_of, get, post, schema_of
from featurestore.store import FeatureStore
from featurestore.values import json_encoding
from featurestore.values.result import to_dicts

if TYPE_CHECKING:
    from featurestore.models import LoadedModel, LoadedModels

log = logging.getLogger(__name__)

TAG = "models"

LOADS_AT_ONCE = 4
"""Requests of a process that ask MLflow, or load models, at the same time. They wait in threads of their own."""
VERSION = "version of the model; defaults to the one with the alias of the setting `default_alias`, or else the only one"

PARAMETERS = [
    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "name of the registered model"},
    {"name": "version", "in": "query", "schema": {"type": "string"}, "description": VERSION},
    {"name": "alias", "in": "query", "schema": {"type": "string"}, "description": "alias of a version, instead of `version`"},
]


class Models:
    """The routes that list models and predict with them."""

    def __init__(self, store: FeatureStore, predictions: Predictions, metrics: Metrics) -> None:
        self._store, self._predictions, self._metrics = store, predictions, metrics
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

    def routes(self) -> list[APIRoute]:
        """The routes of models."""
        openapi = {"parameters": PARAMETERS, **body_of(("application/json", schema_of(InvocationBody)))}
        documented: dict[int, dict[str, Any]] = {200: {"model": responses.Predictions}}
        path = "/v1/models/{name}/invocations"
        return [
            get("/v1/models", self.list_models, TAG, response_model=list[responses.Model]),
            post(path, self.invoke_model, TAG, kind=BareRoute, responses=documented, openapi_extra=openapi),
        ]

    def list_models(self) -> list[dict[str, Any]]:
        """Every version of every model that was logged with a training set, newest first."""
        return to_dicts(self._store.models())

    async def invoke_model(self, request: Request) -> Response:
        """Predict for rows of keys and request fields. Features in the request override the looked-up ones.

        The model is loaded at its first request and kept in memory. 503 if MLflow is not installed, if too many predictions are running,
        or if the model took too long.
        """
        body = await json_body.read(request, InvocationBody)
        rows = body.rows()
        check_entities(len(rows), self._store.settings.entities_limit, "records")
        name, query = request.path_params["name"], request.query_params
        wanted = (name, query.get("version"), query.get("alias"))
        model = None if self._loaded is None else self._loaded.find_loaded(*wanted)
        if model is None:
            # Not in the threads of predictions: MLflow may be slow, and models that are in memory go on predicting.
            model = await self._loads.run(request, name, lambda: self._loaded_models().get(*wanted))
        answer = await self._predictions.run(request, name, partial(_predict, model, rows, body.params))
        self._metrics.count_rows(model.stamp.plan.service, answer.counts)
        return Response(answer.content, media_type="application/json")

    def _loaded_models(self) -> "LoadedModels":
        with self._lock:
            if self._loaded is None:
                # Imported here: a server that serves no models does not need MLflow, and starts faster without it.
                from featurestore.models import LoadedModels  # noqa: PLC0415

                self._loaded = LoadedModels(self._store)
            return self._loaded


def _predict(model: "LoadedModel", rows: list[dict[str, Any]], params: dict[str, Any] | None) -> Answer:
    prediction = model.predict(rows, params)
    try:
        return Answer(json_encoding.dumps(prediction.to_dict()), count_statuses(prediction.status))
    except TypeError as error:
        raise ModelError(f"the predictions of the model {model.name} cannot be written as JSON", reason=str(error)) from error
