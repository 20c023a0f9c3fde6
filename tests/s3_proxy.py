"""A proxy in front of an S3 server that counts requests and bytes, adds latency, and fails as a test asks."""

import asyncio
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, unquote, urlsplit

LIMIT = 1 << 20
"""How many bytes are forwarded at a time."""
KINDS = ("HEAD", "LIST", "GET", "PUT", "POST", "DELETE")
"""What requests are counted as: LIST is a GET of a bucket, and POST begins or ends an upload in parts, or deletes many objects."""


@dataclass(frozen=True)
class Asked:
    """A request: its kind, and the path of what it is about, bucket first. `part`: it is one of an upload in parts."""

    kind: str
    path: str
    part: bool


@dataclass
class Counts:
    """What came through: requests by kind, and the bytes of their bodies and of those of the answers."""

    requests: Counter[str] = field(default_factory=Counter)
    paths: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """All requests."""
        return self.requests.total()


Strike = Callable[[Asked], str | None]
"""What happens to a request: None, `cut` (half of the body of what is read, or no answer to a change, and then no connection), `stall`
(the same, and then nothing at all), or the code of an error of S3, such as SlowDown.
"""
STATUSES = {"SlowDown": 503, "InternalError": 500, "ExpiredToken": 400, "AccessDenied": 403}


class Proxy:
    """Counts until `take` starts again. `latency`: seconds that each request waits. `strike` is asked about each request."""

    def __init__(self, host: str, port: int, latency: float = 0.0) -> None:
        self._target, self.latency = (host, port), latency
        self.strike: Strike = lambda asked: None
        self.counts = Counts()
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def take(self) -> Counts:
        """What was counted since the last call."""
        counts, self.counts = self.counts, Counts()
        return counts

    async def serve(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set; `ready` is called when the port is known."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=LIMIT)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            there = await asyncio.open_connection(*self._target, limit=LIMIT)
            while await self._exchange(reader, writer, *there):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # One side has gone, and so does the other; or the proxy ends.
            pass
        finally:
            for stream in (writer, *([there[1]] if there else [])):
                stream.close()
                with suppress(OSError):
                    await stream.wait_closed()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: asyncio.StreamReader,
        to_upstream: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        headers = _headers(head)
        asked = _asked(head)
        self.counts.requests[asked.kind] += 1
        self.counts.paths[(asked.kind, asked.path)] += 1
        if headers.get(b"expect", b"").lower() == b"100-continue":
            head = b"".join(line + b"\r\n" for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"expect:")) + b"\r\n"
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(self.latency)
        strike = self.strike(asked)
        if strike in STATUSES:
            self.counts.sent += await _forward(reader, headers, None)
            body = f"<?xml version='1.0'?><Error><Code>{strike}</Code><Message>told to fail</Message></Error>".encode()
            head = f"HTTP/1.1 {STATUSES[strike]} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            writer.write(head if asked.kind == "HEAD" else head + body)
            await writer.drain()
            return True
        to_upstream.write(head)
        self.counts.sent += await _forward(reader, headers, to_upstream)
        answer = await upstream.readuntil(b"\r\n\r\n")
        while answer.startswith(b"HTTP/1.1 100"):
            answer = await upstream.readuntil(b"\r\n\r\n")
        there = _headers(answer)
        if strike is not None:
            if asked.kind in ("GET", "LIST"):
                writer.write(answer)
                writer.write(await upstream.readexactly(int(there.get(b"content-length", b"0")) // 2))
                await writer.drain()
            if strike == "stall":
                # Until the client has gone: its patience, and not a time of ours, ends it.
                await reader.read(1)
            return False
        writer.write(answer)
        if asked.kind != "HEAD" and answer[9:12] not in (b"204", b"304"):
            self.counts.received += await _forward(upstream, there, writer)
        await writer.drain()
        return b"close" not in (there.get(b"connection", b"").lower(), headers.get(b"connection", b"").lower())


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _asked(head: bytes) -> Asked:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    path = unquote(parts.path).strip("/")
    if method == "GET" and ("list-type" in query or "prefix" in query or "/" not in path):
        return Asked("LIST", f"{path}/{query.get('prefix', [''])[0]}", False)
    return Asked(method, path, "partNumber" in query or "uploadId" in query or "uploads" in query)


async def _forward(reader: asyncio.StreamReader, headers: dict[bytes, bytes], writer: asyncio.StreamWriter | None) -> int:
    """Forward a body, or read it only; returns its bytes."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return await _forward_chunks(reader, writer)
    left = length = int(headers.get(b"content-length", b"0"))
    while left:
        data = await reader.read(min(left, LIMIT))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)
        if writer is not None:
            writer.write(data)
            await writer.drain()
    return length


async def _forward_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> int:
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        data = await reader.readexactly(size + 2) if size else await reader.readuntil(b"\r\n")
        if writer is not None:
            writer.write(line + data)
            await writer.drain()
        if not size:
            return total
        total += size


@contextmanager
def distant(endpoint: str, latency: float) -> Iterator[tuple[str, Callable[[], Counts]]]:
    """The address of a proxy in a process of its own, and its `take`: one in a thread would take processor time from what is measured."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, endpoint, latency))
    process.start()
    try:
        address: str = here.recv()

        def take() -> Counts:
            here.send(True)
            counts: Counts = here.recv()
            return counts

        yield address, take
    finally:
        here.send(False)
        process.join()


def _serve(pipe: Connection, endpoint: str, latency: float) -> None:
    with proxy(endpoint, latency) as made:
        pipe.send(made.endpoint)
        while pipe.recv():
            pipe.send(made.take())


@contextmanager
def proxy(endpoint: str, latency: float = 0.0) -> Iterator[Proxy]:
    """A proxy in a thread of its own, in front of the server at this address."""
    parts = urlsplit(endpoint)
    made = Proxy(parts.hostname or "", parts.port or 80, latency)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=_run, args=(loop, made, ready, stop))
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, made: Proxy, ready: threading.Event, stop: asyncio.Event) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(made.serve(ready.set, stop))
        open_connections = asyncio.all_tasks(loop)
        for task in open_connections:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*open_connections, return_exceptions=True))
    finally:
        loop.close()
