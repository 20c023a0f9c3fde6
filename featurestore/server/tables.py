"""Tables that are written by key over HTTP: create, write, and what happened to any table."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.server import json_body, responses, spines
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import USE_CATALOG, Needs
from featurestore.server.requests import SourceWriteBody, SourceWriteFields, TableBody, WriteBody, WriteFields
from featurestore.server.routing import EngineRoute, LongRoute, get, json_of, post
from featurestore.server.uploads.reader import UploadReader
from featurestore.store import FeatureStore, PrincipalStore
from featurestore.values.result import to_dicts

TAG = "tables"


class Tables:
    """The routes of tables that are written by key."""

    def __init__(self, store: FeatureStore, uploads: UploadReader) -> None:
        self._callers, self._uploads = Callers(store), uploads

    def routes(self) -> list[APIRoute]:
        """The routes of tables."""
        write = spines.describe(WriteFields, WriteBody, "rows")
        return [
            post(
                "/v1/tables",
                self.create,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                response_model=responses.ViewDetail,
                openapi_extra=json_of(TableBody),
            ),
            post(
                "/v1/table-writes",
                self.write,
                TAG,
                needs=Needs.VERB,
                kind=LongRoute,
                response_model=responses.TableWrite,
                openapi_extra=write,
            ),
            post(
                "/v1/source-writes",
                self.write_source,
                TAG,
                needs=Needs.VERB,
                kind=LongRoute,
                response_model=responses.SourceWrite,
                openapi_extra=spines.describe(SourceWriteFields, SourceWriteBody, "rows"),
            ),
            get("/v1/tables/{name}/history", self.history, TAG, needs=USE_CATALOG, response_model=list[responses.TableEvent]),
        ]

    async def create(self, request: Request) -> dict[str, Any]:
        """Create a table whose rows are written by key, or add the columns that it lacks. It needs MANAGE on the view of its name."""
        body = await json_body.read_typed(request, TableBody)
        return await run_in_threadpool(_create, self._callers.of(request), body)

    async def write(self, request: Request) -> dict[str, Any]:
        """Write rows to a table by its keys, in one commit, and publish them. 422 names the row and the column that is wrong."""
        fields, rows = await spines.read(request, WriteFields, WriteBody, self._uploads, "rows")
        return await run_in_threadpool(_write, self._callers.of(request), fields, rows)

    async def write_source(self, request: Request) -> dict[str, Any]:
        """Write rows to the table of a source with a schema; a merge replaces those of the same id. It needs WRITE on the source."""
        fields, rows = await spines.read(request, SourceWriteFields, SourceWriteBody, self._uploads, "rows")
        return await run_in_threadpool(_write_source, self._callers.of(request), fields, rows)

    def history(self, request: Request, name: str) -> list[dict[str, Any]]:
        """What happened to a table, the newest first: a view or written table, a feature table, or any table of the catalog."""
        return to_dicts(self._callers.of(request).history(name))


def _create(store: PrincipalStore, body: TableBody) -> dict[str, Any]:
    table = store.create_table(body.name, body.keys, body.timestamp, schema=body.columns, description=body.description, tags=body.tags)
    return table.to_dict()


def _write(store: PrincipalStore, fields: WriteFields, rows: Any) -> dict[str, Any]:
    return store.write_table(fields.table, rows, fields.mode, fields.run_id).to_dict()


def _write_source(store: PrincipalStore, fields: SourceWriteFields, rows: Any) -> dict[str, Any]:
    return store.write(fields.source, rows, fields.mode).to_dict()
