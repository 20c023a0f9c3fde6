"""Slow clients, and clients that disconnect."""

import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from featurestore import FeatureStore, Settings
from featurestore.server.connection import HEAD_BYTES, Pace, Patience
from featurestore.server.logs import LineFormatter, printable
from tests import shop
from tests.server.conftest import Served

pytestmark = pytest.mark.slow

POST = b"POST /v1/services/churn/online HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with short time limits."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), header_seconds=0.4, stall_seconds=0.4, lowest_rate="40KiB")
    with FeatureStore(settings=settings) as store, shop.serving(store) as url:
        yield url


@contextmanager
def open_connection(url: str) -> Iterator[socket.socket]:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=10) as connection:
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """All bytes until the other side closes the connection."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def send_until_refused(connection: socket.socket) -> None:
    """Send until the connection refuses it: only a write shows that the other side has closed it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        connection.sendall(b"G")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "sent", [b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"]
)
def test_headers_that_never_end(hasty: str, sent: bytes) -> None:
    with open_connection(hasty) as connection:
        connection.sendall(sent)
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 1000\r\n\r\n",
        POST + b'Content-Length: 1000\r\n\r\n{"entities"',
        POST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ent',
    ],
)
def test_a_body_that_never_comes(hasty: str, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), open_connection(hasty) as connection:
        connection.sendall(sent)
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")
    assert caplog.text == ""
    assert httpx.get(f"{hasty}/healthz").is_success


def test_a_second_request_has_its_own_time(hasty: str) -> None:
    with open_connection(hasty) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /heal")
        assert all_of(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nX-A: ", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: "])
def test_headers_that_are_too_long(hasty: str, head: bytes) -> None:
    with open_connection(hasty) as connection:
        connection.sendall(head)
        answer = b""
        try:
            for _ in range(4 * HEAD_BYTES // 8192):
                connection.sendall(b"a" * 8192)
            answer = all_of(connection)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert re.match(rb"HTTP/1.1 4(31|00|22|04) ", answer)


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_long_headers_in_one_piece(hasty: str, body: bytes) -> None:
    with open_connection(hasty) as connection:
        head = POST + b"Content-Length: %d\r\nX-A: %s\r\n\r\n" % (len(body), b"a" * (HEAD_BYTES + 1))
        connection.sendall(head + body + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = all_of(connection)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert answer.count(b"HTTP/1.1") == 1
    with open_connection(hasty) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: %s\r\n\r\n" % (b"a" * (HEAD_BYTES // 2)))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_reads_nothing(hasty: str) -> None:
    with open_connection(hasty) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_until_refused(connection)


def receive(connection: socket.socket, part: int, seconds: float) -> int:
    """The number of bytes received in this time, reading up to `part` bytes every 50 ms. A broken connection refuses writes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        count += len(connection.recv(part))
        connection.sendall(b"\n")
        time.sleep(0.05)
    return count


def test_a_client_that_reads_slowly(hasty: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client reads eight parts per stall limit, and would have the whole response in an hour."""
    with open_connection(hasty) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        receive(connection, 1024, 20)
    assert caplog.text == ""


@pytest.mark.parametrize("count, late", [(0, 36), (4_096, 42), (480_000, None), (500_000, None)])
def test_the_rate_is_measured_between_checks(count: int, late: int | None) -> None:
    """The rate is checked every six seconds; the first interval, and those in which the server was busy, do not count."""
    pace = Pace(Patience(headers=10, stall=30, rate=16_000), max_step=12)
    pace.begin(6)
    found = []
    for now in range(12, 3_600, 6):
        pace.advance(now, count if now % 30 == 0 else 0)
        found.extend([now] if pace.late else [])
    assert (found[0] if found else None) == late


def test_time_in_which_the_server_is_busy_does_not_count() -> None:
    pace = Pace(Patience(headers=10, stall=30, rate=16_000), max_step=12)
    pace.begin(0)
    pace.advance(1_000, 0)
    assert not pace.late


def test_a_client_that_reads_fast_enough(hasty: str) -> None:
    with open_connection(hasty) as connection:
        assert receive(connection, 16_384, 2) > 80_000


def test_a_slow_upload(hasty: str) -> None:
    with open_connection(hasty) as connection:
        connection.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        connection.settimeout(0.05)
        until, answer = time.monotonic() + 20, b""
        while not answer and time.monotonic() < until:
            connection.sendall(b" " * 1024)
            with suppress(TimeoutError):
                answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer


def test_a_slow_upload_with_progress_is_accepted(hasty: str) -> None:
    def slowly() -> Iterator[bytes]:
        yield b'{"entities": ['
        for _ in range(12):
            time.sleep(0.1)
            yield b" " * 8192
        yield b"]}"

    answer = httpx.post(f"{hasty}/v1/services/none/online", content=slowly(), headers={"content-type": "application/json"})
    assert answer.status_code == 404


def test_a_client_that_disconnects_is_not_logged_as_an_error(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    form = POST.replace(b"services/churn/online", b"training-sets").replace(b"application/json", b"multipart/form-data; boundary=x")
    with caplog.at_level(logging.WARNING):
        for head, body in ((POST, b"{"), (form, b"--x"), (POST.replace(b"services/churn/online", b"plan"), b"{")):
            with open_connection(str(served.http.base_url)) as connection:
                connection.sendall(head + b"Content-Length: 100\r\n\r\n" + body)
        deadline = time.monotonic() + 10
        while 'status="499"' not in served.http.get("/metrics").text and time.monotonic() < deadline:
            pass
    assert caplog.text == ""
    metrics = served.http.get("/metrics").text
    assert metrics.count('status="499"') >= 1
    assert not re.search(r'featurestore_requests_total\{[^}]*status="500"', metrics)


def test_request_text_is_one_line_of_the_log() -> None:
    assert printable("/v1/a\n2026-01-01 ERROR x\x1b[31m\r\u2028é") == "/v1/a\\n2026-01-01 ERROR x\\x1b[31m\\r\\u2028é"
    assert len(printable("x" * 1_000)) == 200
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s", ("a\n2026-01-01 00:00:00 ERROR forged\x1b[2K\rb",), None)
    lines = LineFormatter("%(asctime)s %(message)s").format(record).split("\n")
    assert [line.startswith("    ") for line in lines] == [False, True]
    assert "\x1b" not in lines[1]
    assert "\r" not in lines[1]
