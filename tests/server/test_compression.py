"""Answers are compressed where that pays, for clients that accept it."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from featurestore import connect
from featurestore.server.media_types import ARROW
from tests import shop
from tests.server.conftest import Served, serve

PLAIN = "/v1/services/plain/online"
SMALLEST = 4096


@pytest.fixture(scope="module")
def compressing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shop whose server compresses answers from 4 KiB on."""
    with shop.open_shop(tmp_path_factory.mktemp("shop"), gzip_from="4KiB") as store, serve(store) as served:
        store.online_features("plain", [{"customer_id": 1}])
        yield served


def ask(served: Served, count: int, encoding: str | None, path: str = PLAIN, accept: str = "*/*") -> httpx.Response:
    """The answer for so many customers, with its bytes as they were sent."""
    # httpx itself accepts gzip, unless it is told otherwise.
    headers = {"accept": accept, "accept-encoding": encoding or "identity"}
    body = {"entities": [{"customer_id": 1}] * count}
    with served.http.stream("POST", path, json=body, headers=headers) as answer:
        answer.raise_for_status()
        answer._content = b"".join(answer.iter_raw())
    assert len(answer.content) == int(answer.headers["content-length"])
    return answer


@pytest.mark.parametrize("path", [PLAIN, f"{PLAIN}?full=TRUE"], ids=["fast", "ordinary"])
@pytest.mark.parametrize("accept", ["application/json", ARROW])
def test_a_large_answer_is_the_same_after_unpacking(compressing: Served, path: str, accept: str) -> None:
    packed = ask(compressing, 100, "br, gzip;q=0.5", path, accept)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    plain = ask(compressing, 100, None, path, accept)
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < len(plain.content) / 4
    assert packed.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize("path", [PLAIN, f"{PLAIN}?full=TRUE"], ids=["fast", "ordinary"])
def test_a_small_answer_is_sent_as_it_is(compressing: Served, path: str) -> None:
    answer = ask(compressing, 1, "gzip", path)
    assert "content-encoding" not in answer.headers
    assert len(answer.content) < SMALLEST


@pytest.mark.parametrize("encoding", ["gzip;q=0", "br", "identity, *;q=0", "gzip;q=x"])
def test_nobody_gets_what_he_does_not_accept(compressing: Served, encoding: str) -> None:
    assert "content-encoding" not in ask(compressing, 100, encoding).headers


def test_streams_are_not_compressed(compressing: Served) -> None:
    made = compressing.store.training_set("churn", shop.SPINE_SQL, timestamp="ordered_at")
    answer = compressing.http.get(f"/v1/training-sets/{made.id}/data", params={"format": "arrow"})
    assert answer.is_success
    assert "content-encoding" not in answer.headers


def test_our_client_asks_for_none(compressing: Served, tmp_path: Path) -> None:
    with connect(compressing.url) as remote:
        assert len(remote.online_features("plain", [{"customer_id": 1}] * 1000).rows) == 1000
