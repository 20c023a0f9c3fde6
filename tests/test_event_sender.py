"""Events are sent in the background: in order, to files and servers, and never at the cost of whom they are about."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from featurestore.event_sender import WAITING, EventSender
from featurestore.masking import Secret


class Collector(HTTPServer):
    """A server that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, str | None, dict[str, Any]]] = []
        self.status = 201

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Collector)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.received.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def event_of(number: int) -> dict[str, int]:
    return {"number": number}


def test_lines_are_added_to_a_file_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = EventSender(Secret.address("events.jsonl")), EventSender(Secret.address((tmp_path / "b c.jsonl").as_uri()))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for sender in (relative, absolute):
        for number in range(20):
            sender.send(f"event {number}", lambda number=number: event_of(number))  # type: ignore[misc]
        sender.close()
    for name in ("events.jsonl", "b c.jsonl"):
        lines = (tmp_path / name).read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"number": number} for number in range(20)]
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path,called", [("", "/api/v1/lineage"), ("/", "/api/v1/lineage"), ("/openlineage?a=b", "/openlineage?a=b")])
def test_events_are_posted_to_a_server(collector: Collector, path: str, called: str) -> None:
    sender = EventSender(Secret.address(f"http://token-123@{collector.address}{path}"))
    for number in range(3):
        sender.send("an event", lambda number=number: event_of(number))  # type: ignore[misc]
    sender.close()
    assert collector.received == [(called, "Bearer token-123", {"number": number}) for number in range(3)]


def test_a_server_that_refuses_is_a_warning(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.status = 500
    sender = EventSender(Secret.address(f"http://token-123@{collector.address}"))
    sender.send("START of a", lambda: event_of(1))
    sender.close()
    assert "the event START of a was not sent to http://***@" in caplog.text
    assert "the server answered with status 500" in caplog.text
    assert "token-123" not in caplog.text


def test_what_cannot_be_written_or_made_is_a_warning_and_the_next_is_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, int]:
        raise ZeroDivisionError

    sender = EventSender(Secret.address(str(tmp_path / "missing" / "events.jsonl")))
    sender.send("one", lambda: event_of(1))
    sender.send("two", fail)
    sender.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    (tmp_path / "missing").mkdir()
    sender = EventSender(Secret.address(str(tmp_path / "missing" / "events.jsonl")))
    sender.send("two", fail)
    sender.send("three", lambda: event_of(3))
    sender.close()
    assert (tmp_path / "missing" / "events.jsonl").read_text() == '{"number":3}\n'


def test_nobody_who_listens_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sender = EventSender(Secret.address(f"http://127.0.0.1:{unused.getsockname()[1]}"))
        sender.send("one", lambda: event_of(1))
        sender.close()
    assert "the event one was not sent to http://127.0.0.1" in caplog.text
    assert "ConnectError" in caplog.text


def test_a_server_that_does_not_answer_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sender = EventSender(Secret.address(f"http://127.0.0.1:{silent.getsockname()[1]}"), close_seconds=0.1)
        for _ in range(3):
            sender.send("one", lambda: event_of(1))
        sender.close()
    assert "3 events were not sent to http://127.0.0.1" in caplog.text


def test_more_than_can_wait_are_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait() -> dict[str, int]:
        begun.set()
        go.wait()
        return event_of(0)

    sender = EventSender(Secret.address(str(tmp_path / "events.jsonl")))
    sender.send("first", wait)
    begun.wait()
    for number in range(1, WAITING + 3):
        sender.send(f"event {number}", lambda number=number: event_of(number))  # type: ignore[misc]
    go.set()
    sender.close()
    assert [record.getMessage().split(" was")[0] for record in caplog.records if record.levelno == logging.WARNING] == [
        f"the event event {WAITING + 1}",
        f"the event event {WAITING + 2}",
    ]
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == WAITING + 1


def test_a_sender_that_sent_nothing_closes(tmp_path: Path) -> None:
    EventSender(Secret.address(str(tmp_path / "events.jsonl"))).close()
    assert list(tmp_path.iterdir()) == []
