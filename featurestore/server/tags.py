"""Named versions over HTTP: set, list and remove."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.server import json_body
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
        self._store = store

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

    def list_tags(self) -> list[dict[str, Any]]:
        """The named versions, newest first."""
        return to_dicts(self._store.tags())

    async def set_tag(self, request: Request) -> dict[str, Any]:
        """Pin the current snapshots of tables under a name, for which `@name` then stands. 409 if it stands for other snapshots."""
        body = await json_body.read_typed(request, TagBody)
        return await run_in_threadpool(self._set_tag, body)

    def _set_tag(self, body: TagBody) -> dict[str, Any]:
        # Not the store's method, which records the user of this process if nobody is named.
        return self._store.backend.tag(body.name, body.tables, body.by).to_dict()

    def remove_tag(self, name: str) -> dict[str, Any]:
        """Remove a named version, so that its snapshots expire like any other."""
        return self._store.remove_tag(name).to_dict()
