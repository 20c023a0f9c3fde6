"""Group commit: what several threads push at the same time becomes one transaction of the log, which waits for the disk once."""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from featurestore.errors import Busy, FeatureStoreError, Timeout, copy_error
from featurestore.masking import logger_of
from featurestore.push.event_log import Acknowledged, EventLog
from featurestore.push.lot import Lot

logger = logger_of(__name__)

WAITING_BYTES = 64 << 20
WAITING_LOTS = 10_000
"""Lots, and bytes of them, that may wait; more are refused."""
TOGETHER = 1000
"""Most lots of one transaction."""
SECONDS = 60
"""How long a push waits for the log."""
IDLE_SECONDS = 10
"""After so long without a push, the thread ends."""


@dataclass
class _Waiting:
    stream: str
    lot: Lot
    done: "Future[Acknowledged]" = field(default_factory=Future)


class GroupCommit:
    """Adds lots to a log, of which this process has one writer. May be used from several threads."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lots: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.latest = 0
        """When the last lot was acknowledged, in microseconds, by the clock of the log."""

    def append(self, stream: str, lot: Lot) -> Acknowledged:
        """Add a lot, and wait until it is durable.

        Raises: Busy if too many wait: nothing was added; Timeout if the log does not answer: it may be added yet, or not; else as
        `EventLog.append`.
        """
        waiting = self.submit(stream, lot)
        try:
            return waiting.result(SECONDS)
        except FeatureStoreError as error:
            # Others of the same transaction have the same error, and each adds to its message.
            raise copy_error(error) from error
        except TimeoutError as error:
            if waiting.cancel():
                raise Busy(f"the push log did not take the rows within {SECONDS} seconds; nothing was added, try again") from error
            raise Timeout(
                f"the push log did not answer within {SECONDS} seconds; whether the rows are acknowledged is not known: push them again,"
                " which counts rows with a known id once"
            ) from error

    def submit(self, stream: str, lot: Lot) -> "Future[Acknowledged]":
        """As `append`, without waiting. Raises: Busy."""
        waiting = _Waiting(stream, lot)
        with self._changed:
            if self._closed or len(self._lots) >= WAITING_LOTS or self._bytes + len(lot.body) > WAITING_BYTES:
                raise Busy("too many pushes wait for the log; nothing was added, try again in a moment")
            self._lots.append(waiting)
            self._bytes += len(lot.body)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="featurestore-push", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return waiting.done

    def close(self) -> None:
        """Wait for the lots that were submitted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while lots := self._take():
            streams: dict[str, list[_Waiting]] = {}
            for waiting in lots:
                if waiting.done.set_running_or_notify_cancel():
                    streams.setdefault(waiting.stream, []).append(waiting)
            for stream, together in streams.items():
                self._append(stream, together)

    def _take(self) -> list[_Waiting]:
        """The lots of the next transactions; empty at the end."""
        with self._changed:
            if not self._lots and not self._closed:
                self._changed.wait(IDLE_SECONDS)
            if not self._lots:
                # Under the lock, so that who submits next starts another one.
                self._thread = None
                return []
            lots = [self._lots.popleft() for _ in range(min(TOGETHER, len(self._lots)))]
            self._bytes -= sum(len(waiting.lot.body) for waiting in lots)
            return lots

    def _append(self, stream: str, together: list[_Waiting]) -> None:
        try:
            acknowledged = self._log.append(stream, [waiting.lot for waiting in together])
        except Exception as error:  # each of the callers gets it
            if not isinstance(error, FeatureStoreError):
                logger.exception("the push log could not be written")
            for waiting in together:
                waiting.done.set_exception(error)
            return
        self.latest = max(self.latest, acknowledged[-1].at)
        for waiting, one in zip(together, acknowledged, strict=True):
            waiting.done.set_result(one)
