"""A server takes up what other processes apply and materialize, in all of its processes, and finishes its requests when it stops."""

import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from featurestore import Expression, FeatureService, FeatureStore, FeatureView, Settings
from tests import shop
from tests.cli.test_serve import serve
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

BODY = {"entities": [{"customer_id": 1}]}
WAIT = 60.0


def ask_each(url: str, service: str) -> list[dict[str, Any]]:
    """Answers over new connections, each of which meets any of two processes: all ten the same one in one of 500 runs."""
    answers = [httpx.post(f"{url}/v1/services/{service}/online", json=BODY, timeout=60) for _ in range(10)]
    assert {answer.status_code for answer in answers} <= {200, 404}
    return [answer.json() for answer in answers]


def test_what_others_publish_is_in_the_next_answer(tmp_path: Path) -> None:
    home = tmp_path / ".featurestore"
    with shop.open_shop(home):
        pass
    with serve(tmp_path, "--workers", "2") as (_, url), FeatureStore(settings=Settings(home=home)) as other:
        wait_until(lambda: httpx.get(f"{url}/readyz", timeout=60).is_success)
        assert {answer["rows"][0][0] for answer in ask_each(url, "plain")} == {2}
        assert {answer["error"]["type"] for answer in ask_each(url, "later")} == {"NotFound"}

        # There is no wait between what another process does and the question: the next answer has it.
        shop.add(other, "shop.orders", shop.order_rows().slice(3, 1))
        other.materialize("customer_orders")
        answers = ask_each(url, "plain")
        assert {answer["rows"][0][0] for answer in answers} == {3}
        assert len({answer["edition"] for answer in answers}) == 1

        ratio = FeatureView(
            "customer_orders",
            entity=shop.customer,
            source=shop.orders,
            every="1d",
            features={**shop.customer_orders.declared, "ratio": Expression("orders_7d / nullif(orders_30d, 0)")},
        )
        other.apply([FeatureService("plain", features=[ratio["ratio"]]), FeatureService("later", features=[ratio["orders_7d"]])])
        assert {answer["rows"][0][0] for answer in ask_each(url, "plain")} == {3}, "the new version has no rows yet"
        other.materialize("customer_orders")
        assert {tuple(answer["features"]) for answer in ask_each(url, "plain")} == {("ratio",)}
        assert {tuple(answer["features"]) for answer in ask_each(url, "later")} == {("orders_7d",)}


def test_requests_in_flight_are_answered(filled: Path) -> None:
    with serve(filled) as (server, url):
        address = urlsplit(url)
        place = (address.hostname or "", address.port or 0)
        body = b'{"entities": [{"customer_id": 13}], "request": [{"basket": 1}]}'
        head = f"POST /v1/services/churn/online HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(place, timeout=60) as begun:
            begun.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:20])
            # The server has read the beginning when it answers a later request.
            assert httpx.get(f"{url}/healthz", timeout=60).is_success
            server.send_signal(signal.SIGTERM)
            wait_until(lambda: not accepts(place))
            begun.sendall(body[20:])
            answer = b"".join(iter(lambda: begun.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"status":{"customer_orders":["PRESENT"]' in answer
        assert server.wait(30) == 0


def accepts(place: tuple[str, int]) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection(place, timeout=60):
            return True
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        # It was still waiting to be accepted when the server closed.
        return True
