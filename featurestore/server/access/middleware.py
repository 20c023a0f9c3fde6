"""Middleware that finds out who sends each request; plain ASGI, for speed."""

from collections.abc import Collection
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.access.principal import Principal
from featurestore.errors import FeatureStoreError
from featurestore.server.access.access import set_rights
from featurestore.server.access.authenticator import Authenticator
from featurestore.server.error_body import document_of
from featurestore.server.errors import response, retry_headers, status_of


class Others(Protocol):
    """Who knows the senders of some requests, which have credentials of their own."""

    def is_for(self, scope: Scope) -> bool:
        """Whether a request is one of these."""

    async def authenticate(self, scope: Scope) -> Principal:
        """Who sends it. Raises: Unauthorized; NotReady."""


class AccessMiddleware:
    """Notes the rights of each request in its scope; answers 401, or 503, to those of nobody, on all paths except `open_paths`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, recipients: Others, open_paths: Collection[str]) -> None:
        self._app, self._authenticator, self._recipients = app, authenticator, recipients
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            try:
                if self._recipients.is_for(scope):
                    principal = await self._recipients.authenticate(scope)
                else:
                    principal = self._authenticator.find(scope) or await self._authenticator.authenticate(scope)
            except FeatureStoreError as error:
                status = status_of(error)
                headers = {"WWW-Authenticate": "Bearer"} if status == 401 else retry_headers(error)
                await response(status, document_of(error), headers)(scope, receive, send)
                return
            set_rights(scope, self._authenticator.rights_of(principal))
        await self._app(scope, receive, send)
