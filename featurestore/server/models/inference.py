"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it: predictions from tensors of keys and request fields."""

from importlib.metadata import version
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from featurestore.errors import RequestError
from featurestore.pipelines.online_lookup.prediction import Prediction
from featurestore.server import json_body
from featurestore.server.access.needs import Needs
from featurestore.server.bounds import check_entities
from featurestore.server.models import tensors
from featurestore.server.models.predictor import Predictor, Question, Selection
from featurestore.server.models.routes import ALIAS, NAME, NEEDS, NEEDS_USE
from featurestore.server.request_ids import request_id_of
from featurestore.server.requests import InferenceBody
from featurestore.server.responses import inference as bodies
from featurestore.server.routing import BareRoute, BodySchema, body_of, get, post
from featurestore.settings import Settings

TAG = "inference protocol"
MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"
IN_PATH = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "description": "version of the model"}
IGNORED = ("binary_data_output",)
"""Parameters of requests that ask for an extension that this server does not announce: its answers are JSON."""


class InferenceProtocol:
    """The routes of the protocol, except its probes, which are beside those of the server."""

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self._settings, self._predictor = settings, predictor

    def routes(self) -> list[APIRoute]:
        """The routes of the protocol."""
        body = body_of(("application/json", BodySchema(InferenceBody)))
        documented: dict[int, dict[str, Any]] = {200: {"model": bodies.InferenceResponse}}
        return [
            get("/v2", self.server_metadata, TAG, needs=Needs.CREDENTIALS, response_model=bodies.ServerMetadata),
            *(
                post(
                    f"{path}/infer",
                    self.infer,
                    TAG,
                    needs=NEEDS,
                    kind=BareRoute,
                    name=name,
                    responses=documented,
                    openapi_extra={"parameters": parameters, **body},
                )
                for path, name, parameters in ((MODEL, "infer", [NAME, ALIAS]), (VERSION, "infer_with_version", [NAME, IN_PATH]))
            ),
            get(MODEL, self.model_metadata, TAG, needs=NEEDS_USE, response_model=bodies.ModelMetadata),
            get(VERSION, self.model_metadata, TAG, needs=NEEDS_USE, name="version_metadata", response_model=bodies.ModelMetadata),
            get(f"{MODEL}/ready", self.model_ready, TAG, needs=NEEDS_USE, response_model=bodies.ModelReady),
            get(f"{VERSION}/ready", self.model_ready, TAG, needs=NEEDS_USE, name="version_ready", response_model=bodies.ModelReady),
        ]

    async def server_metadata(self) -> dict[str, Any]:
        """The name and version of the server. It has no extensions of the protocol: tensors are JSON."""
        return {"name": "featurestore", "version": version("featurestore"), "extensions": []}

    async def model_metadata(self, request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        """The inputs and outputs of the version that answers requests: keys and request fields, and features, which are optional."""
        return tensors.describe_model(await self._predictor.find(request, Selection(name, version)))

    async def model_ready(self, request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        """Whether a version can answer requests. It is loaded if it is not in memory; an error says why it cannot be."""
        await self._predictor.find(request, Selection(name, version))
        return {"name": name, "ready": True}

    async def infer(self, request: Request) -> Response:
        """Predict for tensors of keys and request fields, each of shape [n]. Tensors of features override looked-up ones.

        The outputs are `prediction`, and `status.<view>` for each view; `outputs` in the request names those to send.
        """
        body = await json_body.read(request, InferenceBody)
        check_entities(body.row_count, self._settings.entities_limit, "rows")
        self._refuse_extensions(body)
        request_id = request_id_of(request.scope, body.id)
        outputs = None if body.outputs is None else [output.name for output in body.outputs]

        def encode(prediction: Prediction) -> bytes:
            return tensors.encode_prediction(prediction, request_id, outputs)

        params = {name: value for name, value in (body.parameters or {}).items() if name not in IGNORED}
        path = request.path_params
        selected = Selection(path["name"], path.get("version"), request.query_params.get("alias"))
        return await self._predictor.answer(
            request, selected, Question(lambda _: body.rows(), params or None, request_id, encode, body.places)
        )

    def _refuse_extensions(self, body: InferenceBody) -> None:
        """Raises: RequestError for what the request asks for, and would not get."""
        for number, tensor in enumerate(body.inputs):
            if "binary_data_size" in (tensor.parameters or {}):
                raise RequestError(f"inputs[{number}]: the binary extension is not supported; send its data as JSON", field="inputs")
        for number, output in enumerate(body.outputs or ()):
            if "classification" in (output.parameters or {}):
                raise RequestError(f"outputs[{number}]: the classification extension is not supported", field="outputs")
