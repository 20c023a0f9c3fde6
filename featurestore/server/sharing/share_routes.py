"""The routes of the sharing protocol that list shares, schemas and tables. A web process answers them from memory."""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from featurestore.server.access.access import principal_of
from featurestore.server.access.needs import Needs
from featurestore.server.responses import sharing as bodies
from featurestore.server.routing import get
from featurestore.server.sharing.paging import MaxResults, PageToken, page
from featurestore.sharing.readable import ReadableShares
from featurestore.sharing.recipients import PATH
from featurestore.sharing.shares import SharedTable
from featurestore.sharing.sharing_book import SharingBook

TAG = "delta sharing"
SHARE = f"{PATH}/shares/{{share}}"
SCHEMA = f"{SHARE}/schemas/{{schema}}"


class ShareRoutes:
    """What there is for a recipient. Names are the same in any case; lists come in pages."""

    def __init__(self, book: SharingBook) -> None:
        self._book = book

    def routes(self) -> list[APIRoute]:
        """The routes."""
        needs = Needs.RECIPIENT
        return [
            get(f"{PATH}/shares", self.list_shares, TAG, needs=needs, response_model=bodies.SharePage),
            get(SHARE, self.get_share, TAG, needs=needs, response_model=bodies.OneShare),
            get(f"{SHARE}/schemas", self.list_schemas, TAG, needs=needs, response_model=bodies.SchemaPage),
            get(f"{SCHEMA}/tables", self.list_tables, TAG, needs=needs, response_model=bodies.TablePage),
            get(f"{SHARE}/all-tables", self.list_all_tables, TAG, needs=needs, response_model=bodies.TablePage),
        ]

    async def list_shares(self, request: Request, max_results: MaxResults = None, page_token: PageToken = None) -> dict[str, Any]:
        """The shares of the recipient."""
        return page([(name, {"name": name}) for name in self._readable(request).names], max_results, page_token)

    async def get_share(self, request: Request, share: str) -> dict[str, Any]:
        """One share of the recipient. 404 if it has none of this name."""
        return {"share": {"name": self._readable(request).share(share).name}}

    async def list_schemas(
        self, request: Request, share: str, max_results: MaxResults = None, page_token: PageToken = None
    ) -> dict[str, Any]:
        """The schemas of a share."""
        found = self._readable(request).share(share)
        return page([(name, {"name": name, "share": found.name}) for name in found.schemas()], max_results, page_token)

    async def list_tables(
        self, request: Request, share: str, schema: str, max_results: MaxResults = None, page_token: PageToken = None
    ) -> dict[str, Any]:
        """The tables of a schema."""
        return page(list(map(_table, self._readable(request).tables(share, schema))), max_results, page_token)

    async def list_all_tables(
        self, request: Request, share: str, max_results: MaxResults = None, page_token: PageToken = None
    ) -> dict[str, Any]:
        """The tables of all schemas of a share."""
        return page(list(map(_table, self._readable(request).tables(share))), max_results, page_token)

    def _readable(self, request: Request) -> ReadableShares:
        return ReadableShares.of(self._book.sharing(), principal_of(request.scope).recipient or "")


def _table(entry: SharedTable) -> tuple[str, dict[str, Any]]:
    # A blank sorts before all characters of names, so that schemas stay together in the order of their names.
    return f"{entry.schema} {entry.name}", {"name": entry.name, "schema": entry.schema, "share": entry.share}
