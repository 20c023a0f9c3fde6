"""Close connections of slow clients: uvicorn itself limits only the pause between two requests."""

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from featurestore.server.error_body import document
from featurestore.settings import Settings

HEAD_BYTES = 64 << 10
"""Most consecutive bytes of a request that are not body: headers, trailers, chunk extensions."""
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
CHECKS = 5
"""How often a connection is checked within the shorter of the two time limits."""


@dataclass(frozen=True)
class Patience:
    """Limits for slow clients.

    `headers` is the most seconds for the headers of a request. `rate` is the lowest rate of a body or a response, in bytes per second, and
    `stall` the seconds by which a client may fall behind it.
    """

    headers: float
    stall: float
    rate: int


class Pace:
    """Measures by how many bytes a client is behind the lowest rate.

    A client that is ahead gets no credit for later, so that a stall is always limited to `Patience.stall` seconds.
    """

    def __init__(self, patience: Patience, max_step: float) -> None:
        self._patience, self._max_step = patience, max_step
        self._behind, self._since = 0.0, 0.0

    def begin(self, now: float) -> None:
        """Start to measure, with the client not behind."""
        self._behind, self._since = 0.0, now

    def skip(self, now: float) -> None:
        """Do not count the time since the last call: the client could not transfer anything."""
        self._since = now

    def advance(self, now: float, count: int) -> None:
        """Count the bytes transferred since the last call. At most `max_step` seconds count: in a longer gap the server was busy."""
        elapsed, self._since = min(now - self._since, self._max_step), now
        self._behind = max(0.0, self._behind + elapsed * self._patience.rate - count)

    @property
    def late(self) -> bool:
        """Whether the client is behind by more than the allowed stall."""
        return self._behind >= self._patience.stall * self._patience.rate


class PatientProtocol(HttpToolsProtocol):
    """One connection. A repeating timer checks it, so that no request needs its own timer."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, patience: Patience, **more: Any) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._patience = patience
        self._interval = min(patience.headers, patience.stall) / CHECKS
        self._timer: asyncio.TimerHandle | None = None
        self._head_since: float | None = None
        self._body, self._response = Pace(patience, 2 * self._interval), Pace(patience, 2 * self._interval)
        self._in_body = self._in_response = False
        self._running: RequestResponseCycle | None = None
        self._head_bytes = self._received = self._pending = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol. The time for the headers starts with the connection."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self._timer = self.loop.call_later(self._interval, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        running = self._running
        if running is not None and not running.response_complete:
            # uvicorn notifies only the newest request, but with pipelining an earlier one may still be running.
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. Refuses headers that are too long, and ignores requests to switch protocols."""
        if self._refused:
            return
        self._head_bytes += len(data)
        self._received += len(data)
        if not self._in_body and b"pgrade" in data.lower():
            data = _without_upgrade(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """See httptools. The time for the headers starts with the first byte of a request."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """See httptools. Refuses headers that are too long and arrive complete in one piece."""
        if self._head_bytes > HEAD_BYTES and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes = 0
        self._head_since = None
        self._body.begin(self.loop.time())
        self._in_body, self._received = True, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if self._refused:
            return
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._refused:
            return
        self._head_bytes = 0
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """See asyncio.Protocol. The client does not take the response as fast as it is written."""
        self._begin_response(self.loop.time())
        super().pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._measure_response(self.loop.time())
        self._in_response = False
        super().resume_writing()

    def _check(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(self._interval, self._check)
        if self.transport.is_closing():
            # The rest of a response may still be unsent; the client must take that in time as well.
            if not self._in_response:
                self._begin_response(now)
            self._head_since, self._in_body = None, False
        if self._in_response:
            self._measure_response(now)
            if self._response.late:
                self.transport.abort()
                return
        if self._head_since is not None and self.cycle is not None and not self.cycle.response_complete:
            # A pipelined request: its time starts when the request before it is answered.
            self._head_since = now
        if self._head_since is not None and now - self._head_since > self._patience.headers:
            self._refuse(408, f"the headers of the request did not arrive within {self._patience.headers:g} s")
        elif self._in_body and self.flow.read_paused:
            # The server has paused reading.
            self._body.skip(now)
            self._received = 0
        elif self._in_body:
            self._body.advance(now, self._received)
            self._received = 0
            if self._body.late:
                stall, rate = self._patience.stall, self._patience.rate
                self._refuse(
                    408, f"the body of the request arrived too slowly: it must keep {rate} bytes per second, and may stall for {stall:g} s"
                )

    def _begin_response(self, now: float) -> None:
        """Start to measure how the client takes a response. What it is behind stays counted, as a response is written in parts."""
        self._in_response, self._pending = True, self._unsent()
        self._response.skip(now)

    def _measure_response(self, now: float) -> None:
        unsent = self._unsent()
        # The difference is negative if the application has written more meanwhile.
        self._response.advance(now, max(0, self._pending - unsent))
        self._pending = unsent

    def _unsent(self) -> int:
        """Bytes that the client has not acknowledged: in the transport's buffer, and in the system's, which may be large."""
        return int(self.transport.get_write_buffer_size()) + _unacknowledged_bytes(self.transport.get_extra_info("socket"))

    def _refuse_head(self) -> None:
        self._refused = True
        self._refuse(431, f"the headers of the request take over {HEAD_BYTES >> 10} KiB")

    def _refuse(self, status: int, message: str) -> None:
        """Send an error, if no response has started, and close. An application that waits for the request sees a disconnected client."""
        cycle = self.cycle
        unfinished = cycle is not None and not cycle.response_complete
        answered = self._head_since is None and cycle is not None and cycle.response_started
        self._head_since, self._in_body = None, False
        if not answered and not self.transport.is_closing():
            body = orjson.dumps(document("Timeout" if status == 408 else "TooLarge", message))
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        if unfinished:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def protocol_of(settings: Settings) -> Any:
    """A factory of `PatientProtocol` with these settings. uvicorn's `http` option is typed as a class, but accepts any callable."""
    return partial(PatientProtocol, patience=Patience(settings.header_seconds, settings.stall_seconds, settings.rate_bytes()))


def _without_upgrade(data: bytes) -> bytes:
    """The bytes of a request, from its beginning, with the headers `Upgrade` renamed.

    A server may ignore these headers (RFC 9110, section 7.8), but httptools would parse the body as bytes of the other protocol.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-ignored:", head) + end + body


def _unacknowledged_bytes(connection: socket.socket | None) -> int:
    """Bytes in the system's send buffer that the client has not acknowledged; 0 where the system does not report it."""
    if connection is None or sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 0
