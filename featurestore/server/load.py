"""A limit on the requests that a server process works on at once, so that too many are refused at once instead of all being late."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import Busy
from featurestore.server.error_body import document_of
from featurestore.server.errors import BUSY_SECONDS, response


class LoadMiddleware:
    """Answers 503 with Retry-After to requests beyond `limit`. Those to `open_paths` are always taken: probes and metrics."""

    def __init__(self, app: ASGIApp, limit: int, open_paths: Collection[str]) -> None:
        self._app, self._limit, self._open_paths = app, limit, frozenset(open_paths)
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit:
            error = Busy(
                f"the server works on {self._limit} requests already, the limit of concurrent_requests; try again later",
                limit=self._limit,
            )
            await response(503, document_of(error), {"Retry-After": BUSY_SECONDS, "Connection": "close"})(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
