"""Push rows to a source over HTTP: as JSON records, or as an Arrow stream, which another process reads."""

import tempfile
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.privileges import Kind, Privilege
from featurestore.pipelines.fresh.refresher import refresher_of
from featurestore.server import json_body, responses
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import on
from featurestore.server.media_types import ARROW, JSON
from featurestore.server.requests import PushBody
from featurestore.server.routing import BodySchema, body_of, post
from featurestore.server.uploads.reader import UploadReader
from featurestore.store import FeatureStore, PrincipalStore

PATH = "/v1/sources/{name}/push"


class Pushes:
    """The route of pushed rows."""

    def __init__(self, store: FeatureStore) -> None:
        self._callers, self._uploads, self._runtime = Callers(store), UploadReader(store.settings), store.backend.runtime

    def routes(self) -> list[APIRoute]:
        """The route of pushes."""
        body = body_of((JSON, BodySchema(PushBody)))
        body["requestBody"]["content"][ARROW] = {"schema": {"type": "string", "format": "binary"}}
        needs = on(Privilege.WRITE, Kind.SOURCE, "name")
        return [post(PATH, self.push, "sources", needs=needs, response_model=responses.Pushed, openapi_extra=body)]

    async def push(self, request: Request, name: str) -> dict[str, Any]:
        """Push rows to a source with a schema: JSON records, or with `Content-Type: application/vnd.apache.arrow.stream` an Arrow stream.

        The answer means that the rows are durable. Each id of the source counts once, however often it is sent, so a push whose answer
        was lost may be sent again. 422 names the row and the column that is wrong, and nothing is pushed; 503 with `Retry-After` if too
        many pushes wait.
        """
        rows: Any
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == ARROW:
            rows = await run_in_threadpool(self._read_arrow, await request.body())
        else:
            rows = (await json_body.read(request, PushBody)).rows
        return await run_in_threadpool(partial(_push, self._callers.of(request), name, rows))

    def start(self) -> None:
        """Begin to bring what is pushed online, here and to other processes."""
        refresher_of(self._runtime).serve()

    def close(self) -> None:
        """End the process that reads Arrow streams."""
        self._uploads.close()

    def _read_arrow(self, content: bytes) -> Any:
        # A forged stream may crash the process that reads it.
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(content)
            return self._uploads.rows(file, "rows").read_all()


def _push(store: PrincipalStore, name: str, rows: Any) -> dict[str, Any]:
    return store.push(name, rows).to_dict()
