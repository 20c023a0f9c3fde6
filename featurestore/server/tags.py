"""Named versions over HTTP: set, list and remove."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.server import json_body
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import USE_CATALOG, Needs
from featurestore.server.requests.tags import TagBody
from featurestore.server.responses.tags import NamedVersion
from featurestore.server.routing import LongRoute, delete, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "tables"


class Tags:
    """The routes of named versions."""

    def __init__(self, store: FeatureStore) -> None:
        self._callers = Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes of named versions."""
        return [
            get("/v1/tags", self.list_tags, TAG, needs=USE_CATALOG, response_model=list[NamedVersion]),
            post(
                "/v1/tags",
                self.set_tag,
                TAG,
                needs=Needs.ADMINISTRATOR,
                kind=LongRoute,
                response_model=NamedVersion,
                openapi_extra=json_of(TagBody),
            ),
            delete("/v1/tags/{name}", self.remove_tag, TAG, needs=Needs.ADMINISTRATOR, kind=LongRoute, response_model=NamedVersion),
        ]

    def list_tags(self, request: Request) -> list[dict[str, Any]]:
        """The named versions, newest first."""
        return to_dicts(self._callers.of(request).tags())

    async def set_tag(self, request: Request) -> dict[str, Any]:
        """Pin the current snapshots of tables under a name, for which `@name` then stands. 409 if it stands for other snapshots."""
        body = await json_body.read_typed(request, TagBody)
        version = await run_in_threadpool(self._callers.of(request).tag, body.name, body.tables, by=body.by)
        return version.to_dict()

    def remove_tag(self, request: Request, name: str) -> dict[str, Any]:
        """Remove a named version, so that its snapshots expire like any other."""
        return self._callers.of(request).remove_tag(name).to_dict()
