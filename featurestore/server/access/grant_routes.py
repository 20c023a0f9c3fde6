"""Grants over HTTP: list, grant, revoke; and the list of policies. A web process answers them."""

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.granting import change_grant, list_grants
from featurestore.access.rights import Rights
from featurestore.server import json_body
from featurestore.server.access.access import rights_of
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs
from featurestore.server.requests.grants import GrantBody
from featurestore.server.responses import grants as bodies
from featurestore.server.routing import delete, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "access"
Selector = Annotated[str, Query(min_length=1, max_length=1000)]


class GrantRoutes:
    """The routes of grants. Who may grant what depends on the object, which `change_grant` checks."""

    def __init__(self, store: FeatureStore) -> None:
        self._runtime, self._callers = store.backend.runtime, Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes."""
        verb = Needs.VERB
        return [
            get("/v1/grants", self.list_grants, TAG, needs=verb, response_model=list[bodies.Grant]),
            post("/v1/grants", self.grant, TAG, needs=verb, response_model=bodies.Grant, openapi_extra=json_of(GrantBody)),
            delete("/v1/grants", self.revoke, TAG, needs=verb, response_model=bodies.Grant),
            get("/v1/policies", self.list_policies, TAG, needs=verb, response_model=list[bodies.Policy]),
        ]

    def list_grants(self, request: Request, on: Selector | None = None, to: Selector | None = None) -> list[dict[str, Any]]:
        """The grants in force to the caller and its groups, and on what it manages: `?on=VIEW x`, `?to=GROUP y`."""
        return to_dicts(list_grants(self._runtime, on, to, rights_of(request.scope)))

    def list_policies(self, request: Request) -> list[dict[str, Any]]:
        """The masks, row filters and declassified features of what the caller may see; their SQL, if the caller is an administrator."""
        return to_dicts(self._callers.of(request).policies())

    async def grant(self, request: Request) -> dict[str, Any]:
        """Grant a privilege on an object to a user or group. It needs MANAGE on the object, and the privilege itself."""
        body = await json_body.read_typed(request, GrantBody)
        return await run_in_threadpool(self._grant, body, rights_of(request.scope))

    def revoke(self, request: Request, privilege: Selector, on: Selector, to: Selector) -> dict[str, Any]:
        """Revoke a grant, which is answered as it was. 404 if it is not in force."""
        return change_grant(self._runtime, privilege, on, to, rights_of(request.scope), revoke=True).to_dict()

    def _grant(self, body: GrantBody, rights: Rights) -> dict[str, Any]:
        return change_grant(self._runtime, body.privilege, body.on, body.to, rights).to_dict()
