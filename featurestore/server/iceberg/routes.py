"""The routes of the catalog over Iceberg's REST protocol, which pyiceberg, DuckDB and Spark read tables by."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import orjson
from fastapi import Query, Request, Response
from fastapi.routing import APIRoute

from featurestore.errors import NotYet, RequestError, brief
from featurestore.lakehouse import metadata_files
from featurestore.redaction import public_properties, without_secrets
from featurestore.server.access.access import rights_of
from featurestore.server.access.needs import Needs
from featurestore.server.bounds import Pool, Threads
from featurestore.server.error_body import document
from featurestore.server.errors import response
from featurestore.server.iceberg.readable_tables import ReadableTables
from featurestore.server.responses import iceberg as bodies
from featurestore.server.routing import RefusingRoute, delete, get, head, post, put
from featurestore.store import FeatureStore

T = TypeVar("T")

TAG = "iceberg"
ROOT = "/iceberg/v1"
REST = f"{ROOT}/{{path:path}}"
"""All other paths: writing, views, and catalogs of other names."""
ENDPOINTS = (
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
)
"""What the catalog does, in the words of the protocol: clients refuse everything else by themselves."""
SEPARATOR = "\x1f"
"""What separates the parts of a namespace in a path."""
AT_ONCE = 4
"""Requests whose metadata are read at the same time: each may take many times their size of memory."""
MOST_ENTRIES = 1_000
"""Most entries of a page; a client that asks for no pages gets all."""
ANSWERS: dict[int | str, dict[str, Any]] = {"default": {"model": bodies.IcebergErrorAnswer, "description": "Error"}}
READ_ONLY = "this catalog is read-only; tables are written by the store: featurestore materialize, write_table, or its own catalog"

PageToken = Annotated[str | None, Query(alias="pageToken", max_length=1000, description="where the page before ended")]
PageSize = Annotated[int | None, Query(alias="pageSize", ge=1, le=2**31 - 1, description="most entries of the answer")]


class IcebergCatalog:
    """The routes that read, each for what its caller may read whole, and those that refuse to write."""

    def __init__(self, store: FeatureStore) -> None:
        settings = store.settings
        self._runtime = store.backend.runtime
        self._catalog = settings.catalog_name
        self._namespaces = f"{ROOT}/{self._catalog}/namespaces"
        self._threads = Threads(Pool(AT_ONCE, settings.query_queue, settings.query_seconds, "query_seconds"))

    def routes(self) -> list[APIRoute]:
        """The routes."""
        read: dict[str, Any] = {"needs": Needs.VERB, "responses": ANSWERS, "response_model_exclude_none": True}
        rest: dict[str, Any] = {"needs": Needs.CREDENTIALS, "include_in_schema": False, "kind": RefusingRoute}
        namespaces = self._namespaces
        namespace = f"{namespaces}/{{namespace}}"
        tables, table = f"{namespace}/tables", f"{namespace}/tables/{{table}}"
        return [
            get(
                f"{ROOT}/config", self.get_catalog_config, TAG, **{**read, "needs": Needs.CREDENTIALS}, response_model=bodies.CatalogConfig
            ),
            get(namespaces, self.list_namespaces, TAG, **read, response_model=bodies.NamespaceList),
            get(namespace, self.get_namespace, TAG, **read, response_model=bodies.Namespace),
            head(namespace, self.head_namespace, TAG, **read, status_code=204),
            get(tables, self.list_iceberg_tables, TAG, **read, response_model=bodies.TableList),
            get(table, self.get_iceberg_table, TAG, **read, response_model=bodies.LoadedTable),
            head(table, self.head_iceberg_table, TAG, **read, status_code=204),
            get(REST, self.get_unknown, TAG, **rest),
            *(change(REST, self.refuse_change, TAG, **rest) for change in (post, put, delete)),
        ]

    async def get_catalog_config(self, warehouse: Annotated[str | None, Query(max_length=1000)] = None) -> dict[str, Any]:
        """What a client asks for first: under which path the catalog is, and what it does. 400 names the right warehouse."""
        if warehouse and warehouse.casefold() != self._catalog.casefold():
            raise RequestError(
                f"warehouse={brief(warehouse)}: the catalog of this server is called {self._catalog}; name that as the warehouse, or none",
                field="warehouse",
            )
        # Old clients send reports of each scan unless they are told not to.
        overrides = {"prefix": self._catalog, "rest-metrics-reporting-enabled": "false"}
        return {"defaults": {}, "overrides": overrides, "endpoints": list(ENDPOINTS)}

    async def list_namespaces(
        self, request: Request, parent: str = "", page_token: PageToken = None, page_size: PageSize = None
    ) -> dict[str, Any]:
        """The namespaces with tables that the caller may read whole; with `parent`, those in it."""
        names = await self._run(request, lambda readable: readable.list_namespaces(_name(parent)))
        shown, following = cut_page(names, page_token, page_size)
        return {"namespaces": [name.split(".") for name in shown], "next-page-token": following}

    async def get_namespace(self, request: Request, namespace: str) -> dict[str, Any]:
        """A namespace and its properties."""
        return await self._run(request, partial(self._load_namespace, _name(namespace)))

    async def head_namespace(self, request: Request, namespace: str) -> Response:
        """Whether there is such a namespace."""
        await self._run(request, lambda readable: readable.require_namespace(_name(namespace)))
        return Response(status_code=204)

    async def list_iceberg_tables(
        self, request: Request, namespace: str, page_token: PageToken = None, page_size: PageSize = None
    ) -> dict[str, Any]:
        """The tables of a namespace that the caller may read whole."""
        names = await self._run(request, lambda readable: readable.list_tables(_name(namespace)))
        shown, following = cut_page(names, page_token, page_size)
        parts = _name(namespace).split(".")
        return {"identifiers": [{"namespace": parts, "name": name} for name in shown], "next-page-token": following}

    async def get_iceberg_table(self, request: Request, namespace: str, table: str, snapshots: Literal["all", "refs"] = "all") -> Response:
        """The metadata of a table; `refs` leaves out snapshots without a branch or tag. 304 if they are those of `If-None-Match`."""
        known = request.headers.get("if-none-match", "")
        return await self._run(request, partial(self._load_table, _name(namespace), table, snapshots, known))

    async def head_iceberg_table(self, request: Request, namespace: str, table: str) -> Response:
        """Whether there is such a table."""
        await self._run(request, lambda readable: readable.find(_name(namespace), table))
        return Response(status_code=204)

    async def get_unknown(self, path: str) -> Response:
        """Say where the catalog is."""
        return response(
            404,
            document("NotFound", f"there is no such path in the catalog, which is at {self._namespaces}; clients find it by {ROOT}/config"),
        )

    async def refuse_change(self, path: str) -> Response:
        """Refuse whatever is not reading."""
        return response(405, document("MethodNotAllowed", READ_ONLY), {"Allow": "GET, HEAD"})

    def _load_namespace(self, namespace: str, readable: ReadableTables) -> dict[str, Any]:
        readable.require_namespace(namespace)
        properties = metadata_files.namespace_properties(self._runtime.catalog, namespace)
        return {"namespace": namespace.split("."), "properties": public_properties(properties)}

    def _load_table(self, namespace: str, table: str, snapshots: str, known: str, readable: ReadableTables) -> Response:
        name, address, permit = readable.find(namespace, table)
        if without_secrets(address) != address:
            raise NotYet(f"the address of {name} has credentials in it, which are not given away: put them into the setting catalog")
        tag = f'W/"{hashlib.sha256(f"{snapshots} {address}".encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag}
        if tag in (part.strip() for part in known.split(",")):
            return Response(status_code=304, headers=headers)
        metadata = metadata_files.read_metadata(self._runtime.catalog, name, address, permit)
        # Writers may have left their own access to the files there.
        metadata["properties"] = public_properties(metadata.get("properties", {}))
        if snapshots == "refs":
            kept = {ref["snapshot-id"] for ref in metadata.get("refs", {}).values()} | {metadata.get("current-snapshot-id")}
            metadata["snapshots"] = [snapshot for snapshot in metadata.get("snapshots", ()) if snapshot["snapshot-id"] in kept]
        content = orjson.dumps({"metadata-location": address, "metadata": metadata, "config": {}})
        return Response(content, media_type="application/json", headers=headers)

    async def _run(self, request: Request, read: Callable[[ReadableTables], T]) -> T:
        readable = ReadableTables(self._runtime, rights_of(request.scope).frozen())
        return await self._threads.run(request, lambda: read(readable))


def cut_page(names: Sequence[str], token: str | None, size: int | None) -> tuple[Sequence[str], str | None]:
    """The entries of sorted names that a page has, and the token of the next page; None: there is none. Pages stay right when tables come
    and go: a token is the last name before it.
    """
    if token is None and size is None:
        return names, None
    rest = [name for name in names if name > (token or "")]
    most = min(size or MOST_ENTRIES, MOST_ENTRIES)
    return rest[:most], rest[most - 1] if len(rest) > most else None


def _name(namespace: str) -> str:
    """The name of a namespace in a path or query as grants name it."""
    return namespace.replace(SEPARATOR, ".")
