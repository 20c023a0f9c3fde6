"""A connection that takes its time is closed: uvicorn bounds only the pause between two requests."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from featurestore.server.documents import document
from featurestore.settings import Settings

HEAD_BYTES = 64 << 10
"""Most bytes of a request in a row that are no body: headers, trailers, extensions of chunks."""
LEAST_BYTES = 4 << 10
"""So many bytes must come, or be taken, in `stall` seconds, if there are so many."""
LOOKS = 5
"""How often a connection is looked at in the shorter of the two times."""


@dataclass(frozen=True)
class Patience:
    """Seconds for the headers of a request, and seconds in which a body or an answer must get on."""

    headers: float
    stall: float


class PatientProtocol(HttpToolsProtocol):
    """One connection. A timer looks at it now and then, so that a request costs no timer of its own."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], *, patience: Patience, **more: Any) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._patience = patience
        self._every = min(patience.headers, patience.stall) / LOOKS
        self._timer: asyncio.TimerHandle | None = None
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._sending_since: float | None = None
        self._loose = self._came = self._waiting = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol. Headers are expected from the beginning."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self._timer = self.loop.call_later(self._every, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. Refuses headers without end."""
        self._loose += len(data)
        self._came += len(data)
        super().data_received(data)
        if self._loose > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"the headers of the request take over {HEAD_BYTES >> 10} KiB")

    def on_message_begin(self) -> None:
        """See httptools: the first byte of a request."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._loose = 0
        self._head_since = None
        self._body_since, self._came = self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._loose = 0
        self._body_since = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client does not take what it is sent."""
        self._sending_since, self._waiting = self.loop.time(), self._unsent()
        super().pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._sending_since = None
        super().resume_writing()

    def _look(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(self._every, self._look)
        if self.transport.is_closing():
            # An answer may still be on its way out; whoever does not take it is cut off as well.
            if self._sending_since is None:
                self._sending_since, self._waiting = now, self._unsent()
            self._head_since = self._body_since = None
        if self._sending_since is not None and now - self._sending_since > self._patience.stall:
            left = self._unsent()
            if self._waiting - left < LEAST_BYTES:
                self.transport.abort()
                return
            self._sending_since, self._waiting = now, left
        if self._head_since is not None and self.cycle is not None and not self.cycle.response_complete:
            # It came before the request ahead of it was answered.
            self._head_since = now
        if self._head_since is not None and now - self._head_since > self._patience.headers:
            self._refuse(408, f"the request did not say what it wants in {self._patience.headers:g} s")
        elif self._body_since is not None and self.flow.read_paused:
            # It is the server that does not take more just now.
            self._body_since, self._came = now, 0
        elif self._body_since is not None and now - self._body_since > self._patience.stall:
            if self._came < LEAST_BYTES:
                self._refuse(408, f"the body of the request did not come: less than {LEAST_BYTES >> 10} KiB in {self._patience.stall:g} s")
            self._body_since, self._came = now, 0

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _refuse(self, status: int, message: str) -> None:
        """Answer, if nothing was answered yet, and close; whoever waits for more of the request is told that the client has gone."""
        cycle = self.cycle
        waiting = cycle is not None and not cycle.response_complete
        answered = self._head_since is None and cycle is not None and cycle.response_started
        self._head_since = self._body_since = None
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
    return partial(PatientProtocol, patience=Patience(settings.header_seconds, settings.stall_seconds))
