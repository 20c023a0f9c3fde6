"""Limits of requests by settings: what exceeds one is refused in words, and others are served meanwhile."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from featurestore import FeatureService
from featurestore.server.media_types import ARROW
from tests import shop
from tests.online.redis.redis_server import redis_server
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.waiting import rounds_until_done, wait_until

PLAIN, STUCK = "/v1/services/plain/online", "/v1/services/stuck/online"
ENTITIES, REQUESTS = 5, 4
PATIENCE = 30.0
LONG = {"long": "levenshtein(repeat(CAST(basket AS VARCHAR), 40000), repeat(CAST(basket + 1 AS VARCHAR), 40000))"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shop whose server takes little at once, and has a service whose derived feature takes longer than it gives it."""
    limits: dict[str, Any] = {
        "entities_limit": ENTITIES,
        "concurrent_requests": REQUESTS,
        "lookup_workers": 1,
        "lookup_queue": 0,
        "query_seconds": 3,
        "body_limit": "2kB",
    }
    with shop.open_shop(tmp_path_factory.mktemp("shop"), **limits) as store:
        store.apply([FeatureService("stuck", features=[shop.customer_orders], request={"basket": "double"}, derived=LONG)])
        with serve(store) as served:
            yield served


def entities(count: int) -> dict[str, Any]:
    return {"entities": [{"customer_id": 1}] * count}


@pytest.mark.parametrize("accept", ["application/json", ARROW])
@pytest.mark.parametrize("path", [PLAIN, f"{PLAIN}?full=TRUE"], ids=["fast", "ordinary"])
def test_entities_of_a_lookup(limited: Served, path: str, accept: str) -> None:
    headers = {"accept": accept}
    # Once without the limit, so that the plan is in memory and the fast path would answer.
    assert limited.http.post(path, json=entities(ENTITIES), headers=headers).is_success
    error = error_of(limited.http.post(path, json=entities(ENTITIES + 1), headers=headers), 413, "TooLarge")
    assert error["message"] == "the request has 6 entities, more than 5, the limit of entities_limit; send them in several requests"
    assert error["details"] == {"limit": ENTITIES}


@pytest.mark.parametrize("form", ["records", "split"])
def test_records_of_a_prediction(limited: Served, form: str) -> None:
    records = [{"customer_id": 1}] * (ENTITIES + 1)
    split = {"columns": ["customer_id"], "data": [[1]] * (ENTITIES + 1)}
    body = {"dataframe_records": records} if form == "records" else {"dataframe_split": split}
    error = error_of(limited.http.post("/v1/models/any/invocations", json=body), 413, "TooLarge")
    assert "6 records, more than 5, the limit of entities_limit" in error["message"]


def test_bytes_of_a_body(limited: Served) -> None:
    body = b'{"entities": [' + b" " * 2000 + b"]}"
    for content in (body, iter([body])):
        answer = limited.http.post(PLAIN, content=content, headers={"content-type": "application/json"})
        assert "larger than 2.0 KiB, the limit of body_limit" in error_of(answer, 413, "TooLarge")["message"]


@pytest.mark.slow
def test_lookups_at_once(limited: Served) -> None:
    limited.http.post(PLAIN, json=entities(1))
    body = {**entities(5), "request": [{"basket": 1.0}] * 5}
    with ThreadPoolExecutor(3) as pool:
        began = time.monotonic()
        stuck = [pool.submit(httpx.post, f"{limited.url}{STUCK}", json=body, timeout=60) for _ in range(3)]
        served = 0
        while not all(future.done() for future in stuck):
            assert limited.http.post(PLAIN, json=entities(1)).is_success
            served += 1
        assert served > 10
    errors = [error_of(future.result(), 503, future.result().json()["error"]["type"]) for future in stuck]
    assert sorted(error["type"] for error in errors) == ["Busy", "Busy", "Timeout"]
    assert [future.result().headers.get("retry-after") for future in stuck if future.result().json()["error"]["type"] == "Busy"] == [
        "1",
        "1",
    ]
    busy = next(error for error in errors if error["type"] == "Busy")
    assert busy["message"] == "the server runs 1 such requests already, and 0 more wait; try again later"
    assert time.monotonic() - began < PATIENCE


def test_requests_at_once(limited: Served) -> None:
    address = urlsplit(limited.url)
    head = f"POST /v1/plan HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    limited.http.post(PLAIN, json=entities(1))
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        # One that comes while the question is answered is refused itself, so there may have to be more than the limit.
        while (answer := limited.http.get("/v1/entities")).is_success:
            assert time.monotonic() < deadline
            connection = stack.enter_context(closing(socket.create_connection((address.hostname or "", address.port or 0))))
            connection.sendall(head.encode())
        error = error_of(answer, 503, "Busy")
        assert error["message"] == "the server works on 4 requests already, the limit of concurrent_requests; try again later"
        assert answer.headers["retry-after"] == "1"
        # Probes, metrics and quick lookups are answered all the same.
        for path in ("/healthz", "/readyz", "/metrics"):
            assert limited.http.get(path).is_success
        assert limited.http.post(PLAIN, json=entities(1)).is_success
    while not limited.http.get("/v1/entities").is_success:
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_a_paused_redis_gathers_no_requests(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"concurrent_requests": 3, "lookup_workers": 1, "lookup_queue": 1}
    with (
        redis_server(tmp_path) as address,
        shop.open_shop(tmp_path / "home", online=f"redis://{address}/0", **limits) as store,
        serve(store) as served,
        redis.Redis.from_url(f"redis://{address}/0") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        assert [served.http.post(PLAIN, json=entities(1)).status_code for _ in range(2)] == [200, 200]
        process = client.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            asked = [pool.submit(httpx.post, f"{served.url}{PLAIN}", json=entities(1), timeout=60) for _ in range(8)]
            for _ in rounds_until_done(asked):
                assert served.http.get("/healthz").is_success
        finally:
            os.kill(process, signal.SIGCONT)
        errors = [error_of(request.result(), 503, request.result().json()["error"]["type"])["type"] for request in asked]
        assert set(errors) == {"Busy", "NotReady"}
        wait_until(lambda: served.http.post(PLAIN, json=entities(1)).is_success, PATIENCE)
