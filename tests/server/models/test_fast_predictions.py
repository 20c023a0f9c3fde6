"""Predictions in front of the framework are answered as on the ordinary route: status, headers, body, metrics and log."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow

from featurestore import models
from featurestore.server.models.fast_predictions import FastPredictions
from tests import shop
from tests.server.conftest import Served, serve

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

PATH = "/v1/models/spender/invocations"
RECORD = {"customer_id": 1, "basket": 40.0}
BODIES: dict[str, Any] = {
    "records": {"dataframe_records": [RECORD, {"customer_id": 99, "basket": 1}]},
    "large": {"dataframe_records": [RECORD] * 400},
    "none": {"dataframe_records": []},
    "split": {"dataframe_split": {"columns": ["customer_id", "basket"], "data": [[1, 40.0]]}},
    "instances": {"instances": [[1, 40.0]]},
    "override": {"dataframe_records": [{**RECORD, "spend_30d": 7}]},
    "no key": {"dataframe_records": [{"basket": 1.0}]},
    "wrong type": {"dataframe_records": [{"customer_id": "one", "basket": 1.0}]},
    "unknown field": {"dataframe_records": [{**RECORD, "nobody": 1}]},
    "two forms": {"dataframe_records": [RECORD], "instances": [RECORD]},
    "unknown parameter": {"dataframe_records": [RECORD], "params": {"depth": 1}},
    "too many": {"dataframe_records": [RECORD] * 501},
    "list": [RECORD],
    "not JSON": b'{"dataframe_records": [',
    "repeated": b'{"dataframe_records": [{"customer_id": 1, "customer_id": 2, "basket": 1}]}',
    "-0": b'{"dataframe_records": [{"customer_id": 1, "basket": -0}]}',
    "long": b'{"dataframe_records": [{"customer_id": 1, "basket": 0.1000000000000000055511151231257827}]}',
    "NaN": b'{"dataframe_records": [{"customer_id": 1, "basket": NaN}]}',
}
QUERIES = [
    "?version=01",
    "?version=1%0a",
    "?version=%D9%A1",
    "?version=1&version=1",
    "?alias=champion&alias=champion",
    "",
    "?version=1",
    "?version=99",
    "?alias=champion",
    "?alias=nobody",
    "?verison=1",
    "?version=1&alias=champion",
    "?version=",
]


@pytest.fixture(scope="module")
def spender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a model that returns the spend."""
    with shop.open_shop(tmp_path_factory.mktemp("shop"), entities_limit=500, gzip_from="1KB", prediction_log="full") as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"spend_30d": [80.0, 0.0, 7.0], "basket": [40.0, 1.0, 40.0]})
        native = DecisionTreeRegressor().fit(rows, [80.0, 0.0, 7.0])
        models.log_model(native, training_set=made, registered_model_name="spender", store=store, pip_requirements=[])
        models.set_alias("spender", "champion", 1, approver="test", store=store)
        with serve(store) as served:
            yield served


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were answered in front of the framework."""
    paths: list[str] = []
    answer = FastPredictions._answer

    async def watched(self: FastPredictions, *arguments: Any) -> None:
        paths.append(arguments[2]["path"])
        await answer(self, *arguments)

    monkeypatch.setattr(FastPredictions, "_answer", watched)
    return paths


def both(served: Served, path: str, body: Any, **headers: str) -> tuple[httpx.Response, httpx.Response]:
    """The responses in front of the framework, if it is answered there, and of the ordinary route."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fast, ordinary = (
        served.http.post(path, content=content, headers={"content-type": content_type, **headers})
        for content_type in ("application/json", "application/json; charset=utf-8")
    )
    return fast, ordinary


def assert_alike(fast: httpx.Response, ordinary: httpx.Response) -> None:
    bodies = [answer.json() for answer in (fast, ordinary)]
    for body, answer in zip(bodies, (fast, ordinary), strict=True):
        if answer.is_success:
            assert body.pop("request_id") == answer.headers["X-Request-Id"]
    assert (fast.status_code, bodies[0]) == (ordinary.status_code, bodies[1])
    varying = {"date", "x-request-id", "content-length"}
    assert {name: fast.headers[name] for name in fast.headers.keys() - varying} == {
        name: ordinary.headers[name] for name in ordinary.headers.keys() - varying
    }
    assert ("x-request-id" in fast.headers) == ("x-request-id" in ordinary.headers)


@pytest.mark.parametrize("name", BODIES)
def test_bodies(spender: Served, answered: list[str], name: str) -> None:
    fast, ordinary = both(spender, PATH, BODIES[name])
    assert_alike(fast, ordinary)
    assert fast.is_success == (name in ("records", "large", "none", "split", "instances", "override", "-0", "long", "NaN"))
    assert answered == [] if fast.status_code == 422 and "wrong shape" in fast.text else [PATH]
    assert (fast.headers.get("content-encoding") == "gzip") == (name == "large")


@pytest.mark.parametrize("query", QUERIES)
def test_versions_and_aliases(spender: Served, answered: list[str], query: str) -> None:
    fast, ordinary = both(spender, PATH + query, BODIES["records"])
    assert_alike(fast, ordinary)
    assert fast.is_success == (query in ("", "?version=1", "?alias=champion"))
    assert bool(answered) == (query in ("", "?version=1", "?version=01", "?version=99", "?alias=champion", "?alias=nobody"))
    if "version=" in query and "alias" not in query and query.count("=") == 1:
        assert fast.status_code == (200 if query == "?version=1" else 404 if query != "?version=" else fast.status_code)
    if query.count("=") == 2:
        assert fast.status_code == 400


@pytest.mark.parametrize("path", ["/v1/models/nobody/invocations", "/v1/models//invocations", "/v1/models/a/b/invocations"])
def test_other_models(spender: Served, answered: list[str], path: str) -> None:
    fast, ordinary = both(spender, path, BODIES["records"])
    assert_alike(fast, ordinary)
    assert fast.status_code == 404


def test_a_request_id_is_kept_and_logged(spender: Served, answered: list[str]) -> None:
    fast, ordinary = both(spender, PATH, BODIES["records"], **{"X-Request-Id": "call-7"})
    assert [answer.json()["request_id"] for answer in (fast, ordinary)] == ["call-7", "call-7"]
    fast, _ = both(spender, PATH, BODIES["records"], **{"X-Request-Id": "call 7!"})
    assert fast.json()["request_id"] != "call 7!"


def exchange(served: Served, head: str, body: bytes, *, leave: bool = False) -> bytes:
    """The answer to a request that is written byte by byte; with `leave`, the client ends its side of the connection after it."""
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(f"POST {head}\r\nConnection: close\r\n\r\n".encode() + body)
        if leave:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
        return received


def head_of(served: Served, path: str, *headers: str) -> str:
    host = urlsplit(served.url).netloc
    return "\r\n".join([f"{path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", *headers])


@pytest.mark.parametrize("path", [PATH, "/v1/services/plain/online", "/v1/plan"])
def test_a_length_of_thousands_of_digits_is_a_number(spender: Served, answered: list[str], path: str) -> None:
    body = json.dumps(BODIES["records"]).encode()
    for zeros, length in ((5000, len(body)), (0, 10**4900)):
        answer = exchange(spender, head_of(spender, path, f"Content-Length: {'0' * zeros}{_digits(length)}"), body)
        assert not answer.startswith(b"HTTP/1.1 5"), answer[:300]
        forged = head_of(spender, path, f"Content-Length: {'0' * zeros}{_digits(length)}").replace("Host: ", "Host: evil.example#")
        assert exchange(spender, forged, body).startswith(b"HTTP/1.1 4")


def _digits(number: int) -> str:
    """A number of any size as text, for which Python has a limit."""
    return str(number) if number < 10**100 else "1" + "0" * 4900


def test_a_body_that_did_not_arrive_whole_is_not_predicted(spender: Served, answered: list[str]) -> None:
    body = json.dumps(BODIES["records"]).encode()
    exchange(spender, head_of(spender, PATH, f"Content-Length: {len(body) + 50}", "X-Request-Id: torn"), body, leave=True)
    assert answered == []


@pytest.mark.parametrize("upgrade", ["Upgrade: h2c", "upgrade:h2c", "UPGRADE : websocket"])
def test_a_request_to_switch_protocols_is_ignored(spender: Served, answered: list[str], upgrade: str) -> None:
    body = json.dumps(BODIES["records"]).encode()
    lines = ("HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", upgrade, f"Content-Length: {len(body)}")
    received = exchange(spender, head_of(spender, PATH, *lines).replace("Connection: close", "Connection: Upgrade, HTTP2-Settings"), body)
    assert received.startswith(b"HTTP/1.1 200"), received[:300]
    assert b'"predictions":[' in received


def test_one_limit_counts_predictions_of_both_paths_and_other_requests(tmp_path: Path) -> None:
    content = json.dumps(BODIES["records"]).encode()
    limits = {"concurrent_requests": 2}
    with ExitStack() as stack:
        served = stack.enter_context(serve(stack.enter_context(shop.open_shop(tmp_path, **limits))))
        address = urlsplit(served.url)
        lookup = {"entities": [{"customer_id": 1}]}
        assert served.http.post("/v1/services/plain/online", json=lookup).is_success
        # They hold their places, since their bodies do not come; one that comes while the question is answered is refused itself.
        deadline, content_types = time.monotonic() + 30, cycle(["application/json", "application/json; charset=utf-8"])
        while served.http.get("/v1/entities").is_success:
            assert time.monotonic() < deadline
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
            head = head_of(served, PATH, f"Content-Length: {len(content)}").replace("application/json", next(content_types))
            connection.sendall(f"POST {head}\r\n\r\n".encode())
        for answer in both(served, PATH, content):
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "Busy")
        assert served.http.get("/healthz").is_success
        assert served.http.post("/v1/services/plain/online", json=lookup).is_success


def test_they_are_counted_alike(spender: Served, answered: list[str]) -> None:
    def count(status: int) -> float:
        line = f'featurestore_requests_total{{method="POST",route="/v1/models/{{name}}/invocations",status="{status}"}}'
        return next((float(row.split()[-1]) for row in spender.http.get("/metrics").text.splitlines() if row.startswith(line)), 0.0)

    before = count(200), count(404)
    both(spender, PATH, BODIES["records"])
    both(spender, f"{PATH}?version=99", BODIES["records"])
    assert (count(200), count(404)) == (before[0] + 2, before[1] + 2)


def test_forged_hosts_and_pages_of_other_sites_are_refused_alike(spender: Served, answered: list[str]) -> None:
    for headers in ({"host": "elsewhere.example"}, {"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
        assert_alike(*both(spender, PATH, BODIES["records"], **headers))
    assert answered == []
