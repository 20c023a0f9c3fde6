"""A connection that takes its time is closed: uvicorn bounds only the pause between two requests."""

import asyncio
import fcntl
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
"""Most bytes of a request in a row that are no body: headers, trailers, extensions of chunks."""
LOOKS = 5
"""How often a connection is looked at in the shorter of the two times."""


@dataclass(frozen=True)
class Patience:
    """Seconds for the headers of a request; for how many seconds a body or who takes an answer may stall, and bytes a second otherwise."""

    headers: float
    stall: float
    rate: int


class Pace:
    """How far a client is behind the lowest rate. Whoever is ahead gains nothing for later: a stall of so many seconds is too long."""

    def __init__(self, patience: Patience, most_seconds: float) -> None:
        self._patience, self._most = patience, most_seconds
        self._behind, self._since = 0.0, 0.0

    def begin(self, now: float) -> None:
        """Nothing is held against the client so far."""
        self._behind, self._since = 0.0, now

    def skip(self, now: float) -> None:
        """It was not the client's turn."""
        self._since = now

    def moved(self, now: float, count: int) -> None:
        """So many bytes since the last time. Time in which the server itself was busy elsewhere is not the client's."""
        passed, self._since = min(now - self._since, self._most), now
        self._behind = max(0.0, self._behind + passed * self._patience.rate - count)

    @property
    def late(self) -> bool:
        """Whether the client has lost more than a stall."""
        return self._behind >= self._patience.stall * self._patience.rate


class PatientProtocol(HttpToolsProtocol):
    """One connection. A timer looks at it now and then, so that a request costs no timer of its own."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, patience: Patience, **more: Any) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._patience = patience
        self._every = min(patience.headers, patience.stall) / LOOKS
        self._timer: asyncio.TimerHandle | None = None
        self._head_since: float | None = None
        self._body, self._taking = Pace(patience, 2 * self._every), Pace(patience, 2 * self._every)
        self._in_body = self._in_answer = False
        self._running: RequestResponseCycle | None = None
        self._loose = self._came = self._waiting = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol. Headers are expected from the beginning."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self._timer = self.loop.call_later(self._every, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        running = self._running
        if running is not None and not running.response_complete:
            # uvicorn tells the newest request alone, and the one that is answered may be another, which it came right behind.
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. Refuses headers without end."""
        if self._refused:
            return
        self._loose += len(data)
        self._came += len(data)
        super().data_received(data)
        if self._loose > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """See httptools: the first byte of a request."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """See httptools. Headers may come in one piece with their end."""
        if self._loose > HEAD_BYTES and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._refuse_head()
            return
        self._loose = 0
        self._head_since = None
        self._body.begin(self.loop.time())
        self._in_body, self._came = True, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if self._refused:
            return
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._refused:
            return
        self._loose = 0
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client does not take what it is sent."""
        self._begin_taking(self.loop.time())
        super().pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._look_at_taking(self.loop.time())
        self._in_answer = False
        super().resume_writing()

    def _look(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(self._every, self._look)
        if self.transport.is_closing():
            # An answer may still be on its way out; whoever does not take it is cut off as well.
            if not self._in_answer:
                self._begin_taking(now)
            self._head_since, self._in_body = None, False
        if self._in_answer:
            self._look_at_taking(now)
            if self._taking.late:
                self.transport.abort()
                return
        if self._head_since is not None and self.cycle is not None and not self.cycle.response_complete:
            # It came before the request ahead of it was answered.
            self._head_since = now
        if self._head_since is not None and now - self._head_since > self._patience.headers:
            self._refuse(408, f"the request did not say what it wants in {self._patience.headers:g} s")
        elif self._in_body and self.flow.read_paused:
            # It is the server that does not take more just now.
            self._body.skip(now)
            self._came = 0
        elif self._in_body:
            self._body.moved(now, self._came)
            self._came = 0
            if self._body.late:
                stall, rate = self._patience.stall, self._patience.rate
                self._refuse(
                    408, f"the body of the request came too slowly: it may stall for {stall:g} s, and brings {rate} bytes a second else"
                )

    def _begin_taking(self, now: float) -> None:
        """An answer does not get out at once. What a client is behind is kept: answers come in parts."""
        self._in_answer, self._waiting = True, self._unsent()
        self._taking.skip(now)

    def _look_at_taking(self, now: float) -> None:
        left = self._unsent()
        # More than before where the application has written meanwhile.
        self._taking.moved(now, max(0, self._waiting - left))
        self._waiting = left

    def _unsent(self) -> int:
        """Bytes that the client's machine has not taken: those that the system holds for it are many, and leave in large parts."""
        return int(self.transport.get_write_buffer_size()) + _queued(self.transport.get_extra_info("socket"))

    def _refuse_head(self) -> None:
        self._refused = True
        self._refuse(431, f"the headers of the request take over {HEAD_BYTES >> 10} KiB")

    def _refuse(self, status: int, message: str) -> None:
        """Answer, if nothing was answered yet, and close; whoever waits for more of the request is told that the client has gone."""
        cycle = self.cycle
        waiting = cycle is not None and not cycle.response_complete
        answered = self._head_since is None and cycle is not None and cycle.response_started
        self._head_since, self._in_body = None, False
        if not answered and not self.transport.is_closing():
            body = orjson.dumps(document("Timeout" if status == 408 else "TooLarge", message))
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        if waiting:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def protocol_of(settings: Settings) -> Any:
    """What uvicorn makes connections with: it calls for a class, and takes whatever makes one."""
    return partial(PatientProtocol, patience=Patience(settings.header_seconds, settings.stall_seconds, settings.rate_bytes()))


def _queued(connection: socket.socket | None) -> int:
    """The bytes that the system has of what was sent and not yet received; 0 where it does not tell."""
    if connection is None or sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 0
