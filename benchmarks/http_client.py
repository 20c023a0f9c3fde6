"""HTTP clients with as little work of their own as there can be: one connection, and many at once."""

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import urlsplit

MIB = 1 << 20


def post_request(url: str, path: str, body: bytes, token: str | None = None) -> bytes:
    """The bytes of a POST of JSON."""
    access = f"Authorization: Bearer {token}\r\n" if token is not None else ""
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n{access}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """HTTP/1.1 on one connection that stays open."""

    def __init__(self, url: str, token: str | None = None) -> None:
        address = urlsplit(url)
        self._url, self._token = url, token
        self.socket = socket.create_connection((address.hostname or "", address.port or 80))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer. Raises: RuntimeError unless the status is 200."""
        self.socket.sendall(post_request(self._url, path, body, self._token))
        while (answer := self.receive()) is None:
            continue
        return answer

    def receive(self) -> bytes | None:
        """Read what has come; the body of the answer once it is whole. Raises: RuntimeError unless the status is 200."""
        part = self.socket.recv(MIB)
        received = self._received = self._received + part if self._received else part
        end = received.find(b"\r\n\r\n")
        if end < 0 and part:
            return None
        start = received.lower().find(b"content-length:", 0, end) + 15
        if not received.startswith(b"HTTP/1.1 200") or start < 15:
            raise RuntimeError(received.decode(errors="replace"))
        if len(received) < end + 4 + int(received[start : received.index(b"\r\n", start)]):
            return None
        self._received = b""
        return received[end + 4 :]

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


class Load(NamedTuple):
    """What a load took: seconds by the clock, and of those the client's processor time."""

    requests: int
    seconds: float
    client: float


def load(url: str, path: str, bodies: Sequence[bytes], connections: int, count: int) -> Load:
    """Send `count` requests over connections that each wait for their answer and then send the next."""
    requests = [post_request(url, path, body) for body in bodies]
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        opened = []
        for _ in range(connections):
            connection = Connection(url)
            stack.callback(connection.close)
            # One after the other, since a process that is woken accepts all connections that wait.
            connection.post(path, bodies[0])
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            opened.append(connection)
        began, worked = time.perf_counter(), time.process_time()
        sent = answered = 0
        for connection in opened:
            connection.socket.sendall(requests[sent % len(requests)])
            sent += 1
        while answered < count:
            for key, _ in selector.select():
                if key.data.receive() is None:
                    continue
                answered += 1
                if sent < count:
                    key.data.socket.sendall(requests[sent % len(requests)])
                    sent += 1
        return Load(count, time.perf_counter() - began, time.process_time() - worked)
