"""Middleware in front of everything else: each request has an entry in the audit log before its answer is sent."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.audit_log.entry import NOBODY
from featurestore.audit_log.log import AuditLog
from featurestore.errors import FeatureStoreError
from featurestore.server.access.access import find_principal
from featurestore.server.admission import RESPONSE_HEADERS
from featurestore.server.audit_log import request_facts
from featurestore.server.audit_log.group_sync import GroupSync
from featurestore.server.audit_log.request_facts import RequestBody
from featurestore.server.error_body import document_of
from featurestore.server.errors import response, retry_headers, status_of
from featurestore.server.metrics import CLIENT_DISCONNECTED

BODILESS = ("GET", "HEAD", "OPTIONS")


class AuditMiddleware:
    """Records every request, granted or refused, except those for `exempt` paths. One that cannot be recorded is refused."""

    def __init__(self, app: ASGIApp, log: AuditLog, exempt: Collection[str], routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self._app, self._log, self._exempt, self._routes = app, log, frozenset(exempt), routes
        self._sync = GroupSync(log.sync) if log.waits_for_disk else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        if self._log.refusal is not None:
            await _refuse(self._log.refusal, scope, receive, send)
            return
        body = None if scope["method"] in BODILESS else RequestBody(receive)
        recorder = _Recorder(self, scope, receive, send, body)
        try:
            await self._app(scope, receive if body is None else body, recorder)
        finally:
            await recorder.finish()

    async def record(self, scope: Scope, body: RequestBody | None, status: int, headers: Sequence[Any], error: str | None) -> None:
        """Append the entry of a request. Raises: OutOfResources, NotReady."""
        principal = find_principal(scope)
        action, parameters = request_facts.action_of(scope, self._routes())
        self._log.record(
            NOBODY if principal is None else principal.name,
            action,
            key=None if principal is None else principal.key,
            objects=request_facts.objects_of(action, parameters),
            status=status,
            error=error,
            request_id=request_facts.request_id(scope, headers),
            **dict(request_facts.facts_of(self._log, scope, action, body)),
        )
        if self._sync is not None:
            await self._sync.wait()


class _Recorder:
    """Sends the answer to one request, after its entry was recorded: `send` of the application."""

    def __init__(self, audit: AuditMiddleware, scope: Scope, receive: Receive, send: Send, body: RequestBody | None) -> None:
        self._audit, self._scope, self._receive, self._send, self._body = audit, scope, receive, send, body
        self._recorded = self._refused = False
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message, the first one after the entry. That of an error waits for the body, which has the error's type."""
        if self._recorded:
            await self._send(message)
        elif message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif message["type"] == "http.response.start":
            await self._record_and_send(message)
        elif self._start is not None:
            await self._record_and_send(self._start, message)

    async def finish(self) -> None:
        """Record a request that was not answered, since its client left or its answer broke off."""
        if self._recorded or self._refused:
            return
        if self._start is not None:
            await self._record_and_send(self._start)
            return
        self._recorded = True
        await self._audit.record(self._scope, self._body, CLIENT_DISCONNECTED, (), "Disconnected")

    async def _record_and_send(self, start: Message, part: Message | None = None) -> None:
        error = None if start["status"] < 400 else request_facts.error_type(b"" if part is None else part.get("body", b""))
        if self._refused:
            return
        try:
            await self._audit.record(self._scope, self._body, start["status"], start.get("headers", ()), error)
        except FeatureStoreError as failed:
            # What the application still sends is dropped.
            self._refused = True
            await _refuse(failed, self._scope, self._receive, self._send)
            return
        self._recorded = True
        await self._send(start)
        if part is not None:
            await self._send(part)


async def _refuse(error: FeatureStoreError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = response(status_of(error), document_of(error), retry_headers(error))
    answer.raw_headers.extend(RESPONSE_HEADERS)
    await answer(scope, receive, send)
