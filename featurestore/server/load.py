"""A limit on the requests that a server process works on at once, so that too many are refused at once instead of all being late."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import Busy
from featurestore.server.error_body import document_of
from featurestore.server.errors import BUSY_SECONDS, response


class Load:
    """Counts the requests that a server process works on, of which `limit` are taken at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._running = 0

    @property
    def is_full(self) -> bool:
        """Whether another request is refused."""
        return self._running >= self.limit

    def __enter__(self) -> None:
        self._running += 1

    def __exit__(self, *error: object) -> None:
        self._running -= 1


class LoadMiddleware:
    """Answers 503 with Retry-After to requests beyond the limit. Those to `open_paths` are always taken: probes and metrics."""

    def __init__(self, app: ASGIApp, load: Load, open_paths: Collection[str]) -> None:
        self._app, self._load, self._open_paths = app, load, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        limit = self._load.limit
        if self._load.is_full:
            error = Busy(f"the server works on {limit} requests already, the limit of concurrent_requests; try again later", limit=limit)
            await response(503, document_of(error), {"Retry-After": BUSY_SECONDS, "Connection": "close"})(scope, receive, send)
            return
        with self._load:
            await self._app(scope, receive, send)
