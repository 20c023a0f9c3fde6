"""Send events as JSON to an address or a file, in the background: a run is neither delayed nor failed by the events about it."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import orjson

from featurestore.errors import FeatureStoreError
from featurestore.masking import Secret, logger_of
from featurestore.private import FILE_MODE

if TYPE_CHECKING:
    import httpx

logger = logger_of(__name__)

WAITING = 1000
"""Most events that wait to be sent; more are dropped."""
SECONDS = 5.0
"""How long a server may take to connect, and to go on with an answer."""
CLOSE_SECONDS = 5.0
"""How long `close` waits for events that were not sent yet."""
API = "/api/v1/lineage"
"""Where servers of OpenLineage take events."""

Event = Mapping[str, Any]


class EventSender:
    """Sends events one after the other, in a thread of its own. What cannot be sent is dropped, with a warning in the log.

    `address` is an http or https address, or a path or file:// address of a file that gets a line for each event. A user in an address
    without a password is sent as a bearer token. An address without a path gets that of OpenLineage's API.
    """

    def __init__(self, address: Secret, close_seconds: float = CLOSE_SECONDS) -> None:
        self._address = address
        # Now, since a program may go to another folder.
        self._file = None if urlsplit(address.reveal()).scheme in ("http", "https") else _file_of(address.reveal())
        self._close_seconds = close_seconds
        self._start_empty()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def _start_empty(self) -> None:
        self._process = os.getpid()
        self._waiting: Queue[tuple[str, Callable[[], Event]] | None] = Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._abandoned = False

    def send(self, what: str, make: Callable[[], Event]) -> None:
        """Queue an event, which `make` makes in the background, and return at once; `what` names it in the log."""
        with self._lock:
            if self._process != os.getpid():
                # After a fork: the thread, and what waits for it, stayed in the other process.
                self._start_empty()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, args=(self._waiting,), name="lineage-events", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((what, make))
        except Full:
            logger.warning("the event %s was dropped: %d events wait to be sent to %s", what, WAITING, self._address)

    def close(self) -> None:
        """Wait until everything is sent, for a few seconds at most. What is not sent by then is dropped, with a warning."""
        thread = self._thread
        if thread is None or self._process != os.getpid():
            return
        until = time.monotonic() + self._close_seconds
        try:
            self._waiting.put(None, timeout=self._close_seconds)
            thread.join(max(0.0, until - time.monotonic()))
        except Full:
            logger.debug("the events before the end of the queue are not sent yet")
        if thread.is_alive():
            self._abandoned = True
            logger.warning("%d events were not sent to %s in %g s, and are dropped", self._drop(), self._address, self._close_seconds)

    def _drop(self) -> int:
        """Empty the queue; the number of events that were in it, or are being sent."""
        dropped = 1
        try:
            while True:
                dropped += self._waiting.get_nowait() is not None
        except Empty:
            return dropped

    def _run(self, waiting: "Queue[tuple[str, Callable[[], Event]] | None]") -> None:
        try:
            while not self._abandoned and (item := waiting.get()) is not None:
                self._deliver(*item)
        finally:
            if self._client is not None:
                self._client.close()

    def _deliver(self, what: str, make: Callable[[], Event]) -> None:
        try:
            self._write(orjson.dumps(make()))
        except (OSError, FeatureStoreError) as error:
            # What was abandoned was counted as dropped.
            if not self._abandoned:
                logger.warning("the event %s was not sent to %s: %s", what, self._address, error)
        except Exception:
            # Such as an address that httpx refuses; the next events may be sent.
            logger.exception("the event %s was not sent to %s", what, self._address)

    def _write(self, content: bytes) -> None:
        if self._file is None:
            self._post(self._address.reveal(), content)
            return
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            # In one piece, since other processes append too.
            os.write(descriptor, content + b"\n")
        finally:
            os.close(descriptor)

    def _post(self, address: str, content: bytes) -> None:
        # Imported here: it is only needed where events are sent to a server.
        import httpx  # noqa: PLC0415

        url = httpx.URL(address)
        headers = {"Content-Type": "application/json"}
        if url.username and not url.password:
            headers["Authorization"] = f"Bearer {url.username}"
            url = url.copy_with(username=None, password=None)
        if url.path in ("", "/"):
            url = url.copy_with(path=API)
        if self._client is None:
            self._client = httpx.Client(timeout=SECONDS)
        try:
            with self._client.stream("POST", url, content=content, headers=headers) as response:
                # The body is not read: a server may send it slowly, or never.
                status = response.status_code
        except httpx.HTTPError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        if not 200 <= status < 300:
            raise ConnectionError(f"the server answered with status {status}")


def _file_of(address: str) -> Path:
    """The file of a path or a file:// address."""
    parts = urlsplit(address)
    return Path(unquote(parts.path) if parts.scheme == "file" else address).expanduser().absolute()
