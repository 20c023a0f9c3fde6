"""Predictions over HTTP: a request has keys, and the features are looked up in the versions that the model was trained on."""

from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Scope

from featurestore.access.privileges import Kind, Privilege
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.server import json_body, responses
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs, on
from featurestore.server.bounds import check_entities
from featurestore.server.models.predictor import Predictor, Question, Selection
from featurestore.server.request_ids import request_id_of
from featurestore.server.requests import InvocationBody
from featurestore.server.routing import BareRoute, BodySchema, body_of, get, post
from featurestore.store import FeatureStore
from featurestore.values import json_encoding
from featurestore.values.result import to_dicts

TAG = "models"
PATH = "/v1/models/{name}/invocations"
NEEDS = on(Privilege.READ_ONLINE, Kind.MODEL, "name")
NEEDS_USE = on(Privilege.USE, Kind.MODEL, "name")
VERSION = "version of the model; defaults to the one with the alias of the setting `default_alias`, or else the only one"

NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "name of the registered model"}
ALIAS = {"name": "alias", "in": "query", "schema": {"type": "string"}, "description": "alias of a version, instead of `version`"}
PARAMETERS = [NAME, {"name": "version", "in": "query", "schema": {"type": "string"}, "description": VERSION}, ALIAS]


class Models:
    """The routes that list models and predict with them in MLflow's scoring protocol."""

    def __init__(self, store: FeatureStore, predictor: Predictor) -> None:
        self._store, self._predictor = store, predictor

    def routes(self) -> list[APIRoute]:
        """The routes of models."""
        openapi = {"parameters": PARAMETERS, **body_of(("application/json", BodySchema(InvocationBody)))}
        documented: dict[int, dict[str, Any]] = {200: {"model": responses.Predictions}}
        return [
            get("/v1/models", self.list_models, TAG, needs=Needs.VERB, response_model=list[responses.Model]),
            post(PATH, self.invoke_model, TAG, needs=NEEDS, kind=BareRoute, responses=documented, openapi_extra=openapi),
        ]

    def list_models(self, request: Request) -> list[dict[str, Any]]:
        """Every version of every model that was logged with a training set, newest first, of the models that the caller may use."""
        return to_dicts(Callers(self._store).of(request).models())

    async def invoke_model(self, request: Request) -> Response:
        """Predict for rows of keys and request fields. Features in the request override the looked-up ones.

        The model is loaded at its first request and kept in memory. 503 if MLflow is not installed, if too many predictions are running,
        or if the model took too long.
        """
        body = await json_body.read(request, InvocationBody)
        query = request.query_params
        selected = Selection(request.path_params["name"], query.get("version"), query.get("alias"))
        question = ask(body, request.scope, self._store.settings.entities_limit)
        return await self._predictor.answer(request, selected, question)


def ask(body: InvocationBody, scope: Scope, entities_limit: int) -> Question:
    """The question in the body of a request, before a model is looked for, which may load one. Raises: TooLarge."""
    check_entities(body.row_count, entities_limit, "records")
    request_id = request_id_of(scope)

    def encode(prediction: Prediction) -> bytes:
        return json_encoding.dumps(prediction.to_dict() | {"request_id": request_id})

    return Question(body.rows, body.params, request_id, encode, body.places)
