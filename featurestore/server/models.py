"""Predictions of stamped models: keys in, features looked up here at the model's own versions, predictions out."""

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from featurestore.errors import FeatureStoreError, RequestError
from featurestore.server import json_body, responses
from featurestore.server.predictions import Predictions
from featurestore.server.requests import InvocationBody
from featurestore.server.routing import BareRoute, body_of, get, post, schema_of
from featurestore.store import FeatureStore
from featurestore.values import json_encoding
from featurestore.values.result import to_dicts

if TYPE_CHECKING:
    from featurestore.models import LoadedModels

log = logging.getLogger(__name__)

TAG = "models"
STOP_SECONDS = 5.0

PARAMETERS = [
    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "the registered model"},
    {"name": "version", "in": "query", "schema": {"type": "string"}, "description": "its version; the newest when left out"},
    {"name": "alias", "in": "query", "schema": {"type": "string"}, "description": "an alias instead of a version"},
]


class Models:
    """Models as they were logged with a training set."""

    def __init__(self, store: FeatureStore, predictions: Predictions) -> None:
        self._store, self._predictions = store, predictions
        self._lock = threading.Lock()
        self._loaded: LoadedModels | None = None
        self._stopped = threading.Event()
        self._loading = threading.Thread(target=self._load_aliased, name="models", daemon=True)

    def start(self) -> None:
        """Load what aliases stand for, beside what is served: MLflow and a model's library take seconds."""
        self._loading.start()

    def stop(self) -> None:
        """Load no further model; wait for the one that is being loaded, but not for an MLflow that does not answer."""
        self._stopped.set()
        self._predictions.close()
        self._loading.join(STOP_SECONDS)

    def routes(self) -> list[APIRoute]:
        """What is served."""
        described = {"parameters": PARAMETERS, **body_of(("application/json", schema_of(InvocationBody)))}
        told: dict[int, dict[str, Any]] = {200: {"model": responses.Predictions}}
        path = "/v1/models/{name}/invocations"
        return [
            get("/v1/models", self.list_models, TAG, response_model=list[responses.Model]),
            post(path, self.invoke_model, TAG, kind=BareRoute, responses=told, openapi_extra=described),
        ]

    def list_models(self) -> list[dict[str, Any]]:
        """Every version of every model that was logged with a training set, newest first."""
        return to_dicts(self._store.models())

    async def invoke_model(self, request: Request) -> Response:
        """Predict for rows of keys and request fields. Features sent along override the looked-up ones.

        The model is loaded when it is first asked for, and kept. 503 says what to install where MLflow is missing, that the server is
        busy with others, or that the model took too long.
        """
        body = await json_body.read(request, InvocationBody)
        wanted = request.query_params
        name = request.path_params["name"]
        predict = partial(self._predict, name, wanted.get("version"), wanted.get("alias"), body)
        return Response(await self._predictions.run(request, name, predict), media_type="application/json")

    def _predict(self, name: str, version: str | None, alias: str | None, body: InvocationBody) -> bytes:
        found = self._models().get(name, version, alias).predict(body.rows()).to_dict()
        try:
            return json_encoding.dumps(found)
        except TypeError as error:
            raise RequestError(f"what the model {name} answers has no form in JSON", reason=str(error)) from error

    def _models(self) -> "LoadedModels":
        with self._lock:
            if self._loaded is None:
                # Here and not above: a server that serves no models needs no MLflow, and starts faster without.
                from featurestore.models import LoadedModels  # noqa: PLC0415

                self._loaded = LoadedModels(self._store)
            return self._loaded

    def _load_aliased(self) -> None:
        try:
            names = sorted({row.model for row in self._store.models() if row.version is not None})
            if names and not self._stopped.is_set():
                self._models().load_aliased(names, self._stopped.is_set)
        except FeatureStoreError as error:
            log.warning("no model is loaded ahead of its first request: %s", error)
