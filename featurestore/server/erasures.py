"""Erasures over HTTP: erase a key, and list the certificates."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.server import json_body
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs
from featurestore.server.requests.erasures import ErasureBody
from featurestore.server.responses.erasures import Erasure
from featurestore.server.routing import LongRoute, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "maintenance"


class Erasures:
    """The routes of erasures."""

    def __init__(self, store: FeatureStore) -> None:
        self._callers = Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes of erasures."""
        body = json_of(ErasureBody)
        admin = Needs.ADMINISTRATOR
        return [
            get("/v1/erasures", self.list_erasures, TAG, needs=admin, response_model=list[Erasure]),
            post("/v1/erasures", self.erase, TAG, needs=admin, kind=LongRoute, response_model=Erasure, openapi_extra=body),
        ]

    def list_erasures(self, request: Request) -> list[dict[str, Any]]:
        """The certificates of all erasures, newest first."""
        return to_dicts(self._callers.of(request).erasures())

    async def erase(self, request: Request) -> dict[str, Any]:
        """Erase the rows of an entity's key from everything that the store keeps; `remaining` names what others must look after."""
        body = await json_body.read_typed(request, ErasureBody)
        erasure = await run_in_threadpool(self._callers.of(request).erase, body.entity, body.key, body.dry_run, by=body.by)
        return erasure.to_dict()
