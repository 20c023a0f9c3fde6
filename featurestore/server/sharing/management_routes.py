"""Shares and recipients over HTTP: create, change, list and remove. A web process answers; the verbs check rights."""

from typing import Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.server import json_body
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs
from featurestore.server.requests.sharing import AddedTableBody, ChangedRecipientBody, RecipientBody, RotationBody, ShareBody
from featurestore.server.responses import sharing as bodies
from featurestore.server.routing import delete, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "sharing"


class SharingRoutes:
    """The routes that manage shares and recipients."""

    def __init__(self, store: FeatureStore) -> None:
        self._callers = Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes."""
        verb, share, recipient = Needs.VERB, bodies.ShareInfo, bodies.RecipientInfo
        created = bodies.CreatedRecipient
        one = "/v1/recipients/{name}"
        return [
            get("/v1/shares", self.shares, TAG, needs=verb, response_model=list[bodies.ShareInfo]),
            post("/v1/shares", self.create_share, TAG, needs=verb, response_model=share, openapi_extra=json_of(ShareBody)),
            delete("/v1/shares/{name}", self.remove_share, TAG, needs=verb, response_model=share),
            post(
                "/v1/shares/{name}/tables", self.add_to_share, TAG, needs=verb, response_model=share, openapi_extra=json_of(AddedTableBody)
            ),
            delete("/v1/shares/{name}/tables", self.remove_from_share, TAG, needs=verb, response_model=share),
            get("/v1/recipients", self.recipients, TAG, needs=verb, response_model=list[bodies.RecipientInfo]),
            post("/v1/recipients", self.create_recipient, TAG, needs=verb, response_model=created, openapi_extra=json_of(RecipientBody)),
            post(one, self.change_recipient, TAG, needs=verb, response_model=recipient, openapi_extra=json_of(ChangedRecipientBody)),
            delete(one, self.revoke_recipient, TAG, needs=verb, response_model=recipient),
            post(f"{one}/keys", self.rotate_recipient, TAG, needs=verb, response_model=created, openapi_extra=json_of(RotationBody)),
            delete(f"{one}/keys/{{key}}", self.revoke_recipient_key, TAG, needs=verb, response_model=recipient),
        ]

    def shares(self, request: Request) -> list[dict[str, Any]]:
        """The shares by name, with their tables and recipients; without SHARE on the catalog only tables that the caller may see."""
        return to_dicts(self._callers.of(request).shares())

    async def create_share(self, request: Request) -> dict[str, Any]:
        """Make an empty share. It needs SHARE on the catalog. 409 if there is one of this name."""
        body = await json_body.read_typed(request, ShareBody)
        return (await run_in_threadpool(self._callers.of(request).create_share, body.name)).to_dict()

    def remove_share(self, request: Request, name: str) -> dict[str, Any]:
        """Remove a share, which is answered as it was. It needs SHARE on the catalog."""
        return self._callers.of(request).remove_share(name).to_dict()

    async def add_to_share(self, request: Request, name: str) -> dict[str, Any]:
        """Put an object into a share. It needs SHARE and READ on the object."""
        body = await json_body.read_typed(request, AddedTableBody)
        return (await run_in_threadpool(self._callers.of(request).add_to_share, name, body.on, body.as_name)).to_dict()

    def remove_from_share(self, request: Request, name: str, on: str = Query(min_length=1, max_length=1000)) -> dict[str, Any]:
        """Take an object, such as `?on=VIEW x`, out of a share. It needs SHARE on the object."""
        return self._callers.of(request).remove_from_share(name, on).to_dict()

    def recipients(self, request: Request) -> list[dict[str, Any]]:
        """All recipients with their keys, without secrets. It needs SHARE on the catalog."""
        return to_dicts(self._callers.of(request).recipients())

    async def create_recipient(self, request: Request) -> dict[str, Any]:
        """Make a recipient of shares. Its profile, with the bearer token, is in this answer only. It needs SHARE on the catalog."""
        body = await json_body.read_typed(request, RecipientBody)
        create = self._callers.of(request).create_recipient
        return (await run_in_threadpool(create, body.name, body.shares, body.groups, body.expires)).to_dict()

    async def change_recipient(self, request: Request, name: str) -> dict[str, Any]:
        """Give a recipient other shares or groups; what is left out stays. It needs SHARE on the catalog."""
        body = await json_body.read_typed(request, ChangedRecipientBody)
        return (await run_in_threadpool(self._callers.of(request).change_recipient, name, body.shares, body.groups)).to_dict()

    def revoke_recipient(self, request: Request, name: str) -> dict[str, Any]:
        """Revoke a recipient with all its keys: all servers refuse it within a second. It needs SHARE on the catalog."""
        return self._callers.of(request).revoke_recipient(name).to_dict()

    async def rotate_recipient(self, request: Request, name: str) -> dict[str, Any]:
        """Make a second profile for a recipient. 409 if it has two live keys, saying which to revoke. It needs SHARE on the catalog."""
        body = await json_body.read_typed(request, RotationBody, RotationBody())
        return (await run_in_threadpool(self._callers.of(request).rotate_recipient, name, body.expires)).to_dict()

    def revoke_recipient_key(self, request: Request, name: str, key: str) -> dict[str, Any]:
        """Revoke one key of a recipient. It needs SHARE on the catalog."""
        return self._callers.of(request).revoke_recipient(name, key).to_dict()
