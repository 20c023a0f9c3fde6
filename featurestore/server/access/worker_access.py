"""The rights of requests in a worker process, whose principal the web process has found out."""

from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.access.grant_book import GrantBook
from featurestore.access.policy_book import PolicyBook
from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.errors import FeatureStoreError
from featurestore.server.access.access import set_rights
from featurestore.server.error_body import document_of
from featurestore.server.errors import response, retry_headers, status_of

PRINCIPAL = "principal"
"""The name in the state of a request's scope under which the web process sends its principal."""


class WorkerAccessMiddleware:
    """Notes the rights of each request, with the grants and policies as they are when it arrives."""

    def __init__(self, app: ASGIApp, book: GrantBook, policies: PolicyBook) -> None:
        self._app, self._book, self._policies = app, book, policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            principal: Principal = scope["state"][PRINCIPAL]
            if not principal.is_administrator:
                try:
                    await run_in_threadpool(self._book.refresh)
                    await run_in_threadpool(self._policies.refresh)
                except FeatureStoreError as error:
                    await response(status_of(error), document_of(error), retry_headers(error))(scope, receive, send)
                    return
            set_rights(scope, Rights(principal, self._book, self._policies))
        await self._app(scope, receive, send)
