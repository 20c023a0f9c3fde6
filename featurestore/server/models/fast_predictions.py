"""The fast path of predictions: one ASGI callable in front of the framework, for plain requests in MLflow's protocol.

The middleware and the router take as long as many models need for a row. What this path does not fully understand goes to the application
with its body untouched, as for lookups.
"""

import re
import time

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import FeatureStoreError
from featurestore.server import json_body
from featurestore.server.admission import RESPONSE_HEADERS
from featurestore.server.compression import compress_for
from featurestore.server.errors import handle_error
from featurestore.server.fast_path import FastPath, receive_body
from featurestore.server.metrics import CLIENT_DISCONNECTED, Metrics
from featurestore.server.models.predictor import Predictor, Selection
from featurestore.server.models.routes import NEEDS, PATH, ask
from featurestore.server.requests import InvocationBody
from featurestore.settings import Settings

_BEGIN, _, _END = PATH.partition("{name}")
_QUERY = re.compile(rb"(version|alias)=([A-Za-z0-9._-]{1,64})")


class FastPredictions:
    """Answers predictions, and passes everything else on to an application."""

    def __init__(self, app: ASGIApp, settings: Settings, predictor: Predictor, metrics: Metrics, path: FastPath) -> None:
        self._app, self._predictor, self._metrics, self._path = app, predictor, metrics, path
        self._entities_limit, self._gzip_bytes = settings.entities_limit, settings.gzip_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        selected = self._select(scope) if scope["type"] == "http" else None
        if selected is None:
            await self._app(scope, receive, send)
            return
        with self._path.load:
            began = time.perf_counter()
            body = await receive_body(receive)
            try:
                invocation = json_body.parse(InvocationBody, body.content) if body.whole else None
            except RequestValidationError:
                # The ordinary route meets the same error, and answers with it.
                invocation = None
            if invocation is not None:
                await self._answer(selected, invocation, scope, receive, send, began)
                return
        await self._app(scope, body.again(receive), send)

    def _select(self, scope: Scope) -> Selection | None:
        """The model that a plain request names; None for any other request."""
        path: str = scope["path"]
        if not (path.startswith(_BEGIN) and path.endswith(_END)) or scope["method"] != "POST":
            return None
        name, query = path[len(_BEGIN) : -len(_END)], _QUERY.fullmatch(scope["query_string"])
        if not name or "/" in name or (scope["query_string"] and query is None):
            return None
        if not self._path.admits(scope, NEEDS, name):
            return None
        return Selection(name) if query is None else Selection(name, **{query[1].decode(): query[2].decode()})

    async def _answer(
        self, selected: Selection, invocation: InvocationBody, scope: Scope, receive: Receive, send: Send, began: float
    ) -> None:
        status, request = CLIENT_DISCONNECTED, Request(scope, receive)
        try:
            try:
                answer = await self._predictor.answer(request, selected, ask(invocation, scope, self._entities_limit))
            except FeatureStoreError as error:
                answer = await handle_error(request, error)
            status = answer.status_code
            await self._send(answer, scope, send)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.requests("POST", PATH, status, [time.perf_counter() - began])
        if answer.background is not None:
            await answer.background()

    async def _send(self, answer: Response, scope: Scope, send: Send) -> None:
        content, length = await compress_for(scope, bytes(answer.body), self._gzip_bytes)
        others = [header for header in answer.raw_headers if header[0] != b"content-length"]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": [*length, *others, *RESPONSE_HEADERS]})
        await send({"type": "http.response.body", "body": content})
