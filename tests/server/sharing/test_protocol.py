"""The sharing protocol over HTTP: pages, headers, ranges, signatures, and what is refused."""

import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.server.sharing import recipient_access
from featurestore.sharing import signatures
from featurestore.sharing.copies import copies_folder
from tests.server.sharing.conftest import CANARY, Shared, wait_until

TABLE = "lake.versions"
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
AsRecipient = Callable[[Mapping[str, Any]], httpx.Client]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error, in the form of the protocol."""
    body = answer.json()
    assert sorted(body) == ["errorCode", "message"]
    assert body["message"]
    return answer.status_code, body["errorCode"]


@pytest.mark.parametrize("path", ["/shares/partners/all-tables", "/shares/PARTNERS/schemas/LAKE/tables"])
def test_pages_are_bounded_and_complete(shared: Shared, path: str) -> None:
    whole = shared.http.get(path).json()
    assert "nextPageToken" not in whole
    names: list[Any] = []
    token, pages = None, 0
    while pages == 0 or token is not None:
        query = {"maxResults": 2, **({} if token is None else {"pageToken": token})}
        body = shared.http.get(path, params=query).json()
        assert len(body["items"]) <= 2
        names, token, pages = [*names, *body["items"]], body.get("nextPageToken"), pages + 1
    assert names == whole["items"]
    assert pages == (len(names) + 1) // 2
    first = shared.http.get(path, params={"maxResults": 0}).json()
    assert first["items"] == []
    assert shared.http.get(path, params={"pageToken": first["nextPageToken"]}).json() == whole


def test_wrong_parameters_are_refused(shared: Shared) -> None:
    for query in (
        {"maxResults": -1},
        {"maxResults": "x"},
        {"pageToken": "ä"},
        {"pageToken": "AAAA"},
        {"pageToken": "x" * 1001},
        {"other": 1},
    ):
        assert shared.http.get("/shares", params=query).status_code in (400, 422), query
    bodies: list[Any] = [
        {"version": -1},
        {"version": "x"},
        {"limitHint": -1},
        {"version": 1, "timestamp": "2026-01-01T00:00:00Z"},
        {"timestamp": "yesterday"},
        {"startingVersion": 1},
        {"predicateHints": "x"},
        [],
    ]
    for body in bodies:
        assert shared.http.post(f"{shared.table(TABLE)}/query", json=body).status_code in (400, 422), body
    ignored = {"includeRefreshToken": True, "maxFiles": 1, "predicateHints": ["n = 1"], "jsonPredicateHints": "{"}
    assert len(shared.files(TABLE, **ignored)) == 3
    assert len(shared.http.post(f"{shared.table(TABLE)}/query").text.splitlines()) == 5, "a query without a body is one for all rows"


def test_answers_have_the_version_and_the_format(shared: Shared) -> None:
    version = shared.http.get(f"{shared.table(TABLE)}/version")
    assert (version.headers["delta-table-version"], version.content) == ("3", b"")
    metadata = shared.http.get(f"{shared.table(TABLE)}/metadata", headers={"delta-sharing-capabilities": "responseformat=delta,parquet"})
    assert metadata.headers["delta-table-version"] == "3"
    assert metadata.headers["delta-sharing-capabilities"] == "responseformat=parquet"
    assert metadata.headers["content-type"].startswith("application/x-ndjson")
    assert metadata.headers["cache-control"] == "no-store"
    protocol, described = map(json.loads, metadata.text.splitlines())
    assert protocol == {"protocol": {"minReaderVersion": 1}}
    assert json.loads(described["metaData"]["schemaString"])["fields"] == [{"name": "n", "type": "long", "nullable": True, "metadata": {}}]
    old = shared.http.get(f"{shared.table(TABLE)}/metadata", params={"version": 2})
    assert old.headers["delta-table-version"] == "2"
    only_delta = {"Delta-Sharing-Capabilities": "responseFormat=DELTA; readerfeatures=deletionvectors"}
    for method, path in (("GET", "metadata"), ("POST", "query")):
        refused = shared.http.request(method, f"{shared.table(TABLE)}/{path}", headers=only_delta, json={} if method == "POST" else None)
        assert error_of(refused) == (400, "INVALID_PARAMETER_VALUE")


def test_a_file_is_served_whole_and_in_ranges(shared: Shared) -> None:
    for file in shared.files(TABLE):
        whole = shared.served.http.get(file["url"])
        assert whole.headers["content-type"] == "application/vnd.apache.parquet"
        assert len(whole.content) == file["size"] == int(whole.headers["content-length"])
        assert pq.read_table(io.BytesIO(whole.content)).num_rows == json.loads(file["stats"])["numRecords"]
        assert (set(pq.read_metadata(io.BytesIO(whole.content)).metadata) - {b"ARROW:schema"}) == set(), "nothing of who wrote it"
        head = shared.served.http.head(file["url"])
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(file["size"]))
        assert head.headers["accept-ranges"] == "bytes"
        size = file["size"]
        for wanted, start, end in (
            (f"bytes=0-{size - 1}", 0, size),
            ("bytes=4-9", 4, 10),
            ("bytes=-8", size - 8, size),
            ("bytes=10-", 10, size),
        ):
            part = shared.served.http.get(file["url"], headers={"Range": wanted})
            assert (part.status_code, part.content) == (206, whole.content[start:end])
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert shared.served.http.get(file["url"], headers={"Range": f"bytes={size}-"}).status_code == 416
        assert shared.served.http.get(file["url"], headers={"Range": "rows=1-2"}).status_code == 400
        assert len({shared.served.http.get(file["url"]).headers["etag"] for _ in range(2)}) == 1
    assert len({file["id"] for file in shared.files(TABLE)}) == 3


def test_a_second_query_makes_no_file_again_and_an_append_only_one(shared: Shared) -> None:
    folder = copies_folder(shared.served.store.settings)
    store = shared.served.store
    table = store.catalog.load_table("lake.growing")
    ids = {file["id"] for file in shared.files("lake.growing")}
    before = {path.name for path in folder.iterdir()}
    table.append(table.scan(limit=1).to_arrow())
    assert len(ids) == 1
    assert ids < {file["id"] for file in shared.files("lake.growing")}
    assert len({path.name for path in folder.iterdir()} - before) == 1
    assert {file["id"] for file in shared.files("lake.growing", version=1)} == ids


def test_no_part_of_an_address_can_be_changed(shared: Shared) -> None:
    url = urlsplit(shared.files(TABLE)[0]["url"])
    other = shared.files("lake.types")[0]
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert set(query) == {"key", "expires", "signature"}
    changed = [
        (url.path, {**query, "expires": str(int(query["expires"]) + 1)}),
        (url.path, {**query, "key": "0" * 12}),
        (url.path, {**query, "signature": query["signature"][:-1] + ("0" if query["signature"][-1] != "0" else "1")}),
        (url.path, {**query, "signature": ""}),
        (url.path, {"key": query["key"], "expires": query["expires"]}),
        (url.path, {**query, "expires": "9" * 30}),
        (url.path, {**query, "expires": f"{query['expires']}.0"}),
        (url.path.replace("versions", "types"), query),
        (url.path.replace("partners", "inside"), query),
        (url.path.rpartition("/")[0] + f"/{other['id']}.parquet", query),
        (url.path.rpartition("/")[0] + "/..%2f..%2fcatalog.db", query),
        (url.path.rpartition("/")[0] + "/..", query),
    ]
    for path, given_query in changed:
        answer = shared.served.http.get(f"{url.scheme}://{url.netloc}{path}?{urlencode(given_query)}")
        assert answer.status_code in (401, 404), path
        assert b"PAR1" not in answer.content
    with_token = shared.http.get(f"{shared.table(TABLE)}/files/{other['id']}.parquet")
    assert with_token.status_code == 401, "a bearer token alone opens no file"


@FUZZ
@given(st.text(min_size=1, max_size=60), st.sampled_from(["key", "expires", "signature", "file", "table"]))
def test_a_changed_address_never_gives_bytes(shared: Shared, text: str, place: str) -> None:
    url = urlsplit(_one_url(shared))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    parts = url.path.split("/")
    if place in query:
        if query[place] == text:
            return
        query[place] = text
    elif parts[-1 if place == "file" else -3] == text:
        return
    else:
        parts[-1 if place == "file" else -3] = text
    path = "/".join(quote(part, safe="") for part in parts[1:])
    answer = shared.served.http.get(f"{url.scheme}://{url.netloc}/{path}?{urlencode(query)}")
    assert answer.status_code in (400, 401, 404, 422), answer.text
    assert b"PAR1" not in answer.content


_URLS: dict[int, str] = {}


def _one_url(shared: Shared) -> str:
    return _URLS.setdefault(id(shared), shared.files(TABLE)[0]["url"])


def test_an_address_ends_with_its_time_its_key_and_its_share(
    shared: Shared, as_recipient: AsRecipient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shared.served.store
    store.create_share("passing")
    store.add_to_share("passing", "TABLE lake.versions")
    made = store.create_recipient("passing", "passing")
    http = as_recipient(made.profile)
    wait_until(lambda: http.get("/shares").is_success)

    def url() -> str:
        lines = http.post("/shares/passing/schemas/lake/tables/versions/query", json={}).text.splitlines()
        return str(json.loads(lines[2])["file"]["url"])

    kept = url()
    expires = int(parse_qs(urlsplit(kept).query)["expires"][0])
    assert 0 < expires / 1000 - time.time() <= signatures.LIFE_SECONDS
    assert shared.served.http.get(kept).is_success
    with monkeypatch.context() as later:
        later.setattr(recipient_access, "now_ms", lambda: expires)
        assert error_of(shared.served.http.get(kept)) == (401, "UNAUTHENTICATED")
    store.remove_from_share("passing", "TABLE lake.versions")
    wait_until(lambda: shared.served.http.get(kept).status_code == 401)
    store.add_to_share("passing", "TABLE lake.versions")
    wait_until(lambda: shared.served.http.get(kept).is_success)
    store.revoke_recipient("passing")
    wait_until(lambda: shared.served.http.get(kept).status_code == 401)
    assert http.get("/shares").status_code == 401
    store.remove_share("passing")


def test_a_recipient_sees_its_shares_only(shared: Shared, as_recipient: AsRecipient) -> None:
    http = as_recipient(shared.served.store.create_recipient("nobody").profile)
    wait_until(lambda: http.get("/shares").is_success)
    assert http.get("/shares").json() == {"items": []}
    for path in ("/shares/partners", "/shares/partners/schemas", f"{shared.table(TABLE)}/version", f"{shared.table(TABLE)}/metadata"):
        answer = http.get(path)
        assert error_of(answer) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert "lake" not in answer.text.replace(path, "")
    assert http.post(f"{shared.table(TABLE)}/query", json={}).status_code == 404
    hidden = shared.http.get("/shares/inside/schemas/lake/tables/hidden/metadata")
    missing = shared.http.get("/shares/inexistent/schemas/lake/tables/hidden/metadata")
    assert (hidden.status_code, hidden.text.replace("inside", "X")) == (404, missing.text.replace("inexistent", "X"))


def test_tokens_open_their_own_part_only(shared: Shared) -> None:
    token = {"Authorization": shared.http.headers["authorization"]}
    key = shared.served.store.create_key("her", administrator=True)
    try:
        wait_until(lambda: shared.served.http.get("/v1/views").status_code == 401)
        for path in ("/v1/views", "/v1/shares", "/v2", "/metrics", "/delta-sharing"):
            assert shared.served.http.get(path, headers=token).status_code == 401, path
        admin = {"Authorization": f"Bearer {key.token}"}
        assert shared.served.http.get("/v1/views", headers=admin).is_success
        for headers in ({}, admin, {"Authorization": "Bearer"}, {"Authorization": "Bearer fsr_x"}):
            assert error_of(shared.served.http.get("/delta-sharing/shares", headers=headers)) == (401, "UNAUTHENTICATED")
        listed = shared.served.http.get("/v1/recipients", headers=admin).text
        assert token["Authorization"].split("_", 2)[2] not in listed
    finally:
        shared.served.store.revoke_key(key.key.id)


def test_no_answer_has_what_is_not_shared(shared: Shared) -> None:
    seen = [shared.http.get("/shares/partners/all-tables").text]
    for table in ("lake.deleted", "lake.renamed"):
        seen += [shared.http.get(f"{shared.table(table)}/metadata").text, str(shared.lines(table)), str(shared.lines(table, limitHint=1))]
    home = str(shared.served.store.settings.home)
    for text in seen:
        assert CANARY not in text
        assert home not in text
        assert "hidden" not in text
