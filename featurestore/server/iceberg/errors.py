"""Middleware that gives errors below /iceberg/ the form of Iceberg's REST protocol: `{"error": {"message", "type", "code"}}`."""

import gzip
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/iceberg/"
MISSING: Mapping[str, str] = {"table": "NoSuchTableException", "namespace": "NoSuchNamespaceException"}
"""The type of a 404 by the kind of what is missing."""
TYPES: Mapping[int, str] = {
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "UnsupportedOperationException",
    500: "InternalServerError",
    501: "UnsupportedOperationException",
    503: "ServiceUnavailableException",
    507: "ServiceUnavailableException",
}
"""The type of an error by its status; of others, BadRequestException."""


class IcebergErrors:
    """In front of everything else, so that also what middleware refuses has that form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith(PATH):
            send = _Translator(send)
        await self._app(scope, receive, send)


class _Translator:
    """Sends the answer to one request; an error waits for its body, which is sent in one message."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            start, message = _translate(start, message)
            await self._send(start)
        await self._send(message)


def _translate(start: Message, message: Message) -> tuple[Message, Message]:
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    content = message.get("body", b"")
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
        del headers["content-encoding"]
    error = orjson.loads(content)["error"] if headers.get("content-type") == "application/json" else {}
    body = orjson.dumps({"error": _in_their_form(start["status"], error)})
    headers["content-type"], headers["content-length"] = "application/json", str(len(body))
    return {**start, "headers": headers.raw}, {**message, "body": body}


def _in_their_form(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    kind = (error.get("details") or {}).get("kind") if status == 404 else None
    name = MISSING.get(str(kind)) or TYPES.get(status, "BadRequestException")
    return {"message": error.get("message", "the request failed"), "type": name, "code": status}
