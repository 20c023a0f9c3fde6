"""The routes of the sharing protocol about one table: its version, its columns, and the files with its rows."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.principal import Principal
from featurestore.errors import RequestError
from featurestore.server import json_body
from featurestore.server.access.access import principal_of, rights_of
from featurestore.server.access.needs import Needs
from featurestore.server.requests.sharing import QueryBody
from featurestore.server.routing import EngineRoute, get, json_of, post
from featurestore.server.sharing.share_routes import SCHEMA, TAG
from featurestore.sharing.copies import Copies, Copy
from featurestore.sharing.readable import ReadableShares
from featurestore.sharing.recipient_policy import rules_of
from featurestore.sharing.recipients import PATH
from featurestore.sharing.recipients import principal_of as recipient_principal
from featurestore.sharing.shared_files import list_shared_files
from featurestore.sharing.shared_snapshot import AsOf, SharedSnapshot, open_snapshot, version_from
from featurestore.sharing.shares import SharedTable
from featurestore.sharing.sharing_book import SharingBook
from featurestore.sharing.signatures import LIFE_SECONDS, FileAddress, Signer
from featurestore.store import FeatureStore
from featurestore.values import times

TABLE = f"{SCHEMA}/tables/{{table}}"
LINES = "application/x-ndjson; charset=utf-8"
VERSION_HEADER, CAPABILITIES = "Delta-Table-Version", "delta-sharing-capabilities"
MOST_VERSION = 2**63 - 1
Version = Annotated[int | None, Query(ge=0, le=MOST_VERSION, description="a version of the table; default: the newest")]
Timestamp = Annotated[str | None, Query(max_length=100, description="a time: the version that was current then")]
StartingTimestamp = Annotated[
    str | None, Query(alias="startingTimestamp", max_length=100, description="a time: the first version at or after it")
]
Bound = Annotated[str | None, Query(max_length=100)]


class TableRoutes:
    """A shared table. Each answer has the version of the table in a header, as the protocol demands."""

    def __init__(self, store: FeatureStore, book: SharingBook, signer: Signer) -> None:
        self._runtime, self._book, self._signer = store.backend.runtime, book, signer
        self._url = store.settings.sharing_url
        self._copies = Copies(store.settings)

    def routes(self) -> list[APIRoute]:
        """The routes; a worker process answers `query`, which may have to make files."""
        needs = Needs.RECIPIENT
        lines: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-ndjson": {}}}}
        bare = {"response_class": Response}
        return [
            get(f"{TABLE}/version", self.version, TAG, needs=needs, **bare),
            get(f"{TABLE}/metadata", self.metadata, TAG, needs=needs, **bare, responses=lines),
            post(
                f"{TABLE}/query", self.query, TAG, needs=needs, kind=EngineRoute, **bare, responses=lines, openapi_extra=json_of(QueryBody)
            ),
            get(f"{TABLE}/changes", self.changes, TAG, needs=needs, **bare),
        ]

    def version(self, request: Request, share: str, schema: str, table: str, starting_timestamp: StartingTimestamp = None) -> Response:
        """The version of a table, in the header `Delta-Table-Version`: the sequence number of its Iceberg snapshot."""
        entry = self._entry(request, share, schema, table)
        if starting_timestamp is not None:
            found = version_from(self._runtime, entry, times.parse(starting_timestamp, "startingTimestamp"))
        else:
            found = open_snapshot(self._runtime, entry).version
        return Response(headers={VERSION_HEADER: str(found)})

    def metadata(
        self, request: Request, share: str, schema: str, table: str, version: Version = None, timestamp: Timestamp = None
    ) -> Response:
        """The columns of a table, in lines of JSON: `protocol` and `metaData`."""
        _check_format(request)
        snapshot = open_snapshot(self._runtime, self._entry(request, share, schema, table), as_of(version, timestamp))
        return _answer(snapshot, ())

    async def query(self, request: Request, share: str, schema: str, table: str) -> Response:
        """The files with the rows of a table, in lines of JSON: `protocol`, `metaData`, and a `file` with an address for each.

        An address is valid for ten minutes. Files are made the first time that they are asked for; a query that takes too long
        is answered 503, and continues where it stopped when it is sent again. Hints of predicates are not used.
        """
        _check_format(request)
        body = await json_body.read_typed(request, QueryBody, QueryBody())
        return await run_in_threadpool(self._query, request, share, schema, table, body)

    def changes(
        self,
        request: Request,
        share: str,
        schema: str,
        table: str,
        starting_version: Annotated[str | None, Query(alias="startingVersion", max_length=100)] = None,
        starting_timestamp: Annotated[str | None, Query(alias="startingTimestamp", max_length=100)] = None,
        ending_version: Annotated[str | None, Query(alias="endingVersion", max_length=100)] = None,
        ending_timestamp: Annotated[str | None, Query(alias="endingTimestamp", max_length=100)] = None,
        include_historical_metadata: Annotated[str | None, Query(alias="includeHistoricalMetadata", max_length=100)] = None,
    ) -> Response:
        """400: the changes between versions are not shared."""
        entry = self._entry(request, share, schema, table)
        raise RequestError(
            f"{entry.schema}.{entry.name} is shared without its change data feed; read two versions of it and compare them", field="changes"
        )

    def _query(self, request: Request, share: str, schema: str, table: str, body: QueryBody) -> Response:
        principal = principal_of(request.scope)
        if body.startingVersion is not None or body.endingVersion is not None:
            raise RequestError(
                "the changes between versions are not shared: leave out startingVersion and endingVersion", field="startingVersion"
            )
        self._book.refresh()
        shares = self._shares(request)
        entry = shares.table(share, schema, table)
        snapshot = open_snapshot(self._runtime, entry, as_of(body.version, body.timestamp))
        base = self._url.rstrip("/") if self._url is not None else f"{request.url.scheme}://{request.url.netloc}"
        rights = replace(rights_of(request.scope), principal=recipient_principal(shares.recipient)).frozen()
        # Of the same state as the files: if other rules come meanwhile, their addresses do not hold.
        rules = rules_of(rights, entry.on, self._runtime.settings)
        files = list_shared_files(self._runtime, self._copies, snapshot, shares, rights, body.limitHint)
        return _answer(snapshot, [self._file_line(copy, entry, principal, base, rules) for copy in files])

    def _file_line(self, copy: Copy, entry: SharedTable, principal: Principal, base: str, rules: str) -> Mapping[str, Any]:
        expires = int(time.time() + LIFE_SECONDS) * 1000
        address = FileAddress(entry.share, entry.schema, entry.name, copy.name, principal.key or "", expires, rules)
        query = urlencode({"key": address.key, "expires": expires, "signature": self._signer.sign(address)})
        return {
            "file": {
                "url": f"{base}{address.path(PATH)}?{query}",
                "id": copy.name.partition(".")[0],
                "partitionValues": {},
                "size": copy.size,
                "stats": json.dumps({"numRecords": copy.rows}),
                "expirationTimestamp": expires,
            }
        }

    def _entry(self, request: Request, share: str, schema: str, table: str) -> SharedTable:
        return self._shares(request).table(share, schema, table)

    def _shares(self, request: Request) -> ReadableShares:
        return ReadableShares.of(self._book.sharing(), principal_of(request.scope).recipient or "")


def as_of(version: int | None, timestamp: str | None) -> AsOf:
    """Which version is asked for. Raises: RequestError for both, or for a time that is none."""
    if version is not None and timestamp is not None:
        raise RequestError("give either version or timestamp, not both", field="timestamp")
    return AsOf(version, None if timestamp is None else times.parse(timestamp, "timestamp"))


def _check_format(request: Request) -> None:
    """Check that a client accepts Parquet files. Raises: RequestError."""
    for part in request.headers.get(CAPABILITIES, "").lower().split(";"):
        name, _, values = part.partition("=")
        if name.strip() == "responseformat" and "parquet" not in [value.strip() for value in values.split(",")]:
            raise RequestError(
                "tables are shared in the format parquet only: read without use_delta_format=True, or send responseformat=parquet in"
                f" {CAPABILITIES}",
                field=CAPABILITIES,
            )


def _answer(snapshot: SharedSnapshot, files: Iterable[Mapping[str, Any]]) -> Response:
    schema = {"type": "struct", "fields": [column.to_json() for column in snapshot.columns]}
    metadata = {
        "id": snapshot.table.uuid,
        "name": snapshot.entry.name,
        "format": {"provider": "parquet"},
        "schemaString": json.dumps(schema),
        "partitionColumns": [],
        "configuration": {},
    }
    lines = [{"protocol": {"minReaderVersion": 1}}, {"metaData": metadata}, *files]
    headers = {VERSION_HEADER: str(snapshot.version), CAPABILITIES: "responseformat=parquet"}
    return Response(b"".join(orjson.dumps(line) + b"\n" for line in lines), headers=headers, media_type=LINES)
