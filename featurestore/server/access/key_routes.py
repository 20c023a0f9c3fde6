"""API keys over HTTP: list, create, revoke. A web process answers them, for administrators only."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.keys import create_key, list_keys, revoke_key
from featurestore.access.principal import Principal
from featurestore.server import json_body
from featurestore.server.access.access import principal_of
from featurestore.server.access.needs import Needs
from featurestore.server.requests.keys import KeyBody
from featurestore.server.responses import keys as bodies
from featurestore.server.routing import delete, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "access"


class KeyRoutes:
    """The routes of API keys."""

    def __init__(self, store: FeatureStore) -> None:
        self._runtime = store.backend.runtime

    def routes(self) -> list[APIRoute]:
        """The routes."""
        admin = Needs.ADMINISTRATOR
        return [
            get("/v1/keys", self.list_keys, TAG, needs=admin, response_model=list[bodies.Key]),
            post("/v1/keys", self.create_key, TAG, needs=admin, response_model=bodies.CreatedKey, openapi_extra=json_of(KeyBody)),
            delete("/v1/keys/{id}", self.revoke_key, TAG, needs=admin, response_model=bodies.Key),
        ]

    def list_keys(self) -> list[dict[str, Any]]:
        """All API keys that were ever created, without their secrets, the newest first."""
        return to_dicts(list_keys(self._runtime))

    async def create_key(self, request: Request) -> dict[str, Any]:
        """Create an API key, which all servers accept within a second. Its token is in this answer only.

        409 if the name has two live keys, saying which to revoke.
        """
        body = await json_body.read_typed(request, KeyBody)
        return await run_in_threadpool(self._create, body, principal_of(request.scope))

    def revoke_key(self, request: Request, id: str) -> dict[str, Any]:
        """Revoke an API key: all servers refuse it within a second."""
        return revoke_key(self._runtime, id, principal_of(request.scope).name).to_dict()

    def _create(self, body: KeyBody, principal: Principal) -> dict[str, Any]:
        return create_key(self._runtime, body.name, body.groups, body.administrator, body.expires, principal.name).to_dict()
