"""Middleware that gives errors below the paths of other protocols the form that these have."""

import gzip
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Form = Callable[[int, Mapping[str, Any]], dict[str, Any]]
"""Makes the body of an error from its status and our `{"type", "message", "details"}`, which is empty for an answer that is not JSON."""


class ForeignErrors:
    """In front of everything else, so that also what middleware refuses has that form."""

    def __init__(self, app: ASGIApp, forms: Mapping[str, Form]) -> None:
        """`forms` by the beginning of paths."""
        self._app, self._forms = app, tuple(forms.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            for path, form in self._forms:
                if scope["path"].startswith(path):
                    send = _Translator(send, form)
        await self._app(scope, receive, send)


class _Translator:
    """Sends the answer to one request; an error waits for its body, which is sent in one message."""

    def __init__(self, send: Send, form: Form) -> None:
        self._send, self._form = send, form
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            start, message = _translate(start, message, self._form)
            await self._send(start)
        await self._send(message)


def _translate(start: Message, message: Message, form: Form) -> tuple[Message, Message]:
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    content = message.get("body", b"")
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
        del headers["content-encoding"]
    error = orjson.loads(content)["error"] if headers.get("content-type") == "application/json" else {}
    body = orjson.dumps(form(start["status"], error))
    headers["content-type"], headers["content-length"] = "application/json", str(len(body))
    return {**start, "headers": headers.raw}, {**message, "body": body}
