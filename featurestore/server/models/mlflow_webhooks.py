"""MLflow's webhooks: what is done to models through MLflow itself is recorded at once, not at the next look."""

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.errors import MissingExtra, NotFound, RequestError, TooLarge
from featurestore.masking import logger_of
from featurestore.models.mlflow_access.health import is_installed
from featurestore.server import json_body
from featurestore.server.access.needs import Needs
from featurestore.server.logs import printable
from featurestore.server.models.predictor import Predictor
from featurestore.server.models.registry_changes import RegistryChanges
from featurestore.server.models.webhook_signature import ID, SIGNATURE, TIMESTAMP, WebhookSignatures
from featurestore.server.requests.mlflow_webhooks import MlflowWebhookBody
from featurestore.server.responses.inference import MlflowDelivery
from featurestore.server.routing import BareRoute, json_of, post
from featurestore.store import FeatureStore
from featurestore.values import json_encoding
from featurestore.values.humanize import format_size

logger = logger_of(__name__)

PATH = "/v1/mlflow/webhooks"
"""The path needs no token, since MLflow cannot send one: the signature takes its place."""
MOST_BYTES = 256 << 10
"""Limit of a body, which anyone may send. Descriptions and most tags fit; what does not fit is recorded at the next look."""
ENTITIES = ("registered_model", "model_version", "model_version_tag", "model_version_alias")
"""What of MLflow's events is about models; prompts and budgets are not."""
HEADERS = {
    ID: "id of the delivery; another one with the same id changes nothing",
    TIMESTAMP: "when MLflow signed it, in seconds since 1970; not older than five minutes",
    SIGNATURE: "`v1,` and the HMAC-SHA256, in Base64, of id, timestamp and body, joined by dots",
}


class MlflowWebhooks:
    """The route that MLflow calls. Of a delivery only the name of the model is used, as a hint: MLflow is asked what has changed."""

    def __init__(self, store: FeatureStore, predictor: Predictor) -> None:
        secret = store.settings.mlflow_webhook_secret
        self._signatures = None if secret is None else WebhookSignatures(secret.reveal())
        self._predictor = predictor
        self._changes = RegistryChanges(store.backend.runtime)

    def routes(self) -> list[APIRoute]:
        """The route of deliveries."""
        headers = [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": text}
            for name, text in HEADERS.items()
        ]
        documented = {200: {"model": MlflowDelivery, "description": "Nothing to do"}, 202: {"model": MlflowDelivery}}
        extra = {"parameters": headers, **json_of(MlflowWebhookBody)}
        return [
            post(
                PATH, self.receive_mlflow_webhook, "models", needs=Needs.NOTHING, kind=BareRoute, responses=documented, openapi_extra=extra
            )
        ]

    def start(self) -> None:
        """Begin to look when MLflow calls; nothing without a secret."""
        if self._signatures is not None:
            self._changes.start()

    def stop(self) -> None:
        """Look no more."""
        if self._signatures is not None:
            self._changes.stop()

    async def receive_mlflow_webhook(self, request: Request) -> Response:
        """Record what was done to a model through MLflow, at once; MLflow sends this request.

        It needs no token, but a signature with the setting `mlflow_webhook_secret`; 404 if there is none. 202: MLflow is asked what has
        changed. 200: the delivery came before, or is not about models.
        """
        if self._signatures is None:
            where = "the settings of this server; set FEATURESTORE_MLFLOW_WEBHOOK_SECRET to the secret of the webhook in MLflow"
            raise NotFound("secret", "mlflow_webhook_secret", None, where)
        content = await _read_body(request)
        delivery = self._signatures.verify(request.headers, content)
        if not is_installed():
            raise MissingExtra("mlflow", "mlflow", "a webhook of MLflow")
        if len(content) > json_body.IN_LOOP_BYTES:
            body = await run_in_threadpool(json_body.parse, MlflowWebhookBody, content)
        else:
            body = json_body.parse(MlflowWebhookBody, content)
        if body.entity not in ENTITIES:
            return _answer(200, delivery.id, "ignored")
        if body.data.name is None:
            raise RequestError("data.name: the name of the registered model is missing", field="data.name")
        if not self._signatures.accept(delivery):
            return _answer(200, delivery.id, "known")
        logger.debug("MLflow says that model %s has changed: %s.%s", *map(printable, (body.data.name, body.entity, body.action)))
        self._predictor.follow_aliases()
        self._changes.notice(body.data.name)
        return _answer(202, delivery.id, "accepted")


async def _read_body(request: Request) -> bytes:
    """The body. Raises: TooLarge, before more than MOST_BYTES are kept."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise TooLarge(f"the body is larger than {format_size(MOST_BYTES)}, the limit of a delivery", limit=MOST_BYTES)
    return bytes(content)


def _answer(status: int, id: str, state: str) -> Response:
    return Response(json_encoding.dumps({"id": id, "state": state}), status, media_type="application/json")
