"""Pages, tags of metadata and errors of Iceberg's REST protocol."""

import gzip
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from featurestore.access.rights import OPERATOR
from featurestore.errors import NotYet
from featurestore.lakehouse import metadata_files
from featurestore.lakehouse.catalog import open_catalog
from featurestore.server.app import FOREIGN_ERRORS
from featurestore.server.errors import response
from featurestore.server.foreign_errors import ForeignErrors
from featurestore.server.iceberg.routes import MOST_ENTRIES, cut_page
from featurestore.settings import Settings
from tests.server.iceberg.conftest import ROOT, Lake

TABLE = f"{ROOT}/namespaces/shop/tables/orders"


def test_pages_have_all_entries_once() -> None:
    names = [f"t{number:04}" for number in range(2 * MOST_ENTRIES + 1)]
    assert cut_page(names, None, None) == (names, None)
    for size in (1, 7, MOST_ENTRIES, 10 * MOST_ENTRIES, None):
        pages, seen = 0, list[str]()
        token: str | None = ""
        while token is not None:
            shown, token = cut_page(names, token, size)
            seen += shown
            pages += 1
        assert seen == names
        assert pages == -(-len(names) // min(size or MOST_ENTRIES, MOST_ENTRIES))
    # A table that is dropped between two pages takes no other with it.
    assert cut_page(["a", "c", "d"], "b", 1) == (["c"], "c")
    assert cut_page(["a"], "a", 1) == ([], None)


def test_metadata_that_a_client_has_are_not_sent_again(lake: Lake) -> None:
    loaded = lake.get("reader", TABLE)
    tag = loaded.headers["etag"]
    for known in (tag, f'"other", {tag}'):
        again = lake.get("reader", TABLE, **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert lake.get("reader", TABLE, **{"If-None-Match": '"other"'}).status_code == 200
    assert lake.get("reader", f"{TABLE}?snapshots=refs", **{"If-None-Match": tag}).status_code == 200
    assert lake.get("stranger", TABLE, **{"If-None-Match": tag}).status_code == 404


def test_snapshots_without_a_name_are_left_out(lake: Lake) -> None:
    snapshots = [snapshot.snapshot_id for snapshot in lake.store.catalog.load_table("shop.orders").snapshots()]
    kept, everything = (lake.get("reader", f"{TABLE}?snapshots={mode}").json()["metadata"] for mode in ("refs", "all"))
    assert [row["snapshot-id"] for row in everything["snapshots"]] == snapshots
    assert [row["snapshot-id"] for row in kept["snapshots"]] == [snapshots[0], snapshots[2]]
    assert {**kept, "snapshots": []} == {**everything, "snapshots": []}


@pytest.mark.parametrize(
    "path, status, kind, said",
    [
        ("/iceberg/v1/config?warehouse=mine", 400, "BadRequestException", "called featurestore"),
        ("/iceberg/v1/mine/namespaces", 404, "NotFoundException", f"{ROOT}/namespaces"),
        (f"{ROOT}/views", 404, "NotFoundException", f"{ROOT}/namespaces"),
        (f"{ROOT}/namespaces?order=up", 400, "BadRequestException", "no query parameter 'order'"),
        (f"{ROOT}/namespaces?pageSize=0", 422, "BadRequestException", "pageSize"),
        (f"{TABLE}?snapshots=some", 422, "BadRequestException", "snapshots"),
    ],
)
def test_errors(lake: Lake, path: str, status: int, kind: str, said: str) -> None:
    answer = lake.get("everything", path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code"}
    assert (answer.json()["error"]["code"], answer.json()["error"]["type"]) == (status, kind)
    assert said in answer.json()["error"]["message"]


def translated(path: str, status: int, content: bytes, headers: dict[str, str]) -> tuple[Message, bytes]:
    """What a client gets where the application answers this."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        answer = response(status, {}, headers)
        answer.body, answer.headers["content-length"] = content, str(len(content))
        await answer(scope, receive, send)

    async def call() -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await ForeignErrors(application, FOREIGN_ERRORS)({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send)

    anyio.run(call)
    start, body = sent
    return start, body["body"]


def test_errors_of_middleware_have_the_form_too() -> None:
    error: dict[str, Any] = {"error": {"type": "Busy", "message": "try again", "details": {"limit": 1}}}
    for content, more in ((orjson.dumps(error), {}), (gzip.compress(orjson.dumps(error)), {"Content-Encoding": "gzip"})):
        start, body = translated("/iceberg/v1/config", 503, content, {"Retry-After": "1", **more})
        assert orjson.loads(body) == {"error": {"message": "try again", "type": "ServiceUnavailableException", "code": 503}}
        assert orjson.loads(translated("/delta-sharing/shares", 503, content, {**more})[1]) == {
            "errorCode": "TEMPORARILY_UNAVAILABLE",
            "message": "try again",
        }
        headers = dict(start["headers"])
        assert headers[b"content-length"] == str(len(body)).encode()
        assert (headers[b"retry-after"], headers.get(b"content-encoding")) == (b"1", None)
    assert translated("/v1/views", 503, orjson.dumps(error), {})[1] == orjson.dumps(error)


def test_an_address_with_credentials_is_not_given_away(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "s3://canary-4f1d9b7a:x@lake/shop/orders/metadata/1.metadata.json"
    monkeypatch.setattr("featurestore.lakehouse.tables.pointer", lambda catalog, identifier: address)
    answer = lake.get("reader", TABLE)
    assert (answer.status_code, answer.json()["error"]["type"]) == (501, "UnsupportedOperationException")
    assert NotYet.__name__ == lake.store.audit_log("reader", limit=1)[0].error


def test_the_catalog_of_another_server_is_read_by_exact_names(lake: Lake, tmp_path: Path) -> None:
    connection = {"type": "rest", "uri": f"{lake.served.url}/iceberg", "token": lake.tokens["everything"]}
    with open_catalog(Settings(home=tmp_path, catalog=connection, warehouse="featurestore")) as catalog:
        # As a server that ignores the case of names.
        load = catalog.load_table
        catalog.load_table = lambda identifier: load(str(identifier).lower())  # type: ignore[method-assign]
        assert [metadata_files.find_metadata(catalog, name) for name in ("shop.ORDERS", "SHOP.orders", "nothing.orders")] == [None] * 3
        address = metadata_files.find_metadata(catalog, "shop.orders")
        assert address is not None
        metadata = metadata_files.read_metadata(catalog, "shop.orders", address, OPERATOR.permit("TABLE", "shop.orders"))
        assert metadata == lake.get("everything", TABLE).json()["metadata"]
