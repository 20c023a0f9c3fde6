"""A watch stops the queries of one piece of work: at its deadline, or when nobody waits for it any more."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from featurestore.errors import FeatureStoreError

AGAIN_SECONDS = 0.1
"""How often a stopped watch interrupts: DuckDB forgets an interrupt that comes between two queries."""


@dataclass(frozen=True)
class Bounds:
    """What each session of a piece of work may have of memory and disk, in bytes; None: what the settings say, or DuckDB.

    And how many bytes its result may take in memory, and the rows of a spine that it reads on disk; None: any number.
    """

    memory: int | None = None
    spill: int | None = None
    result: int | None = None
    spine: int | None = None


class Interruptible(Protocol):
    """What works, and can be told to end it from another thread; told again for as long as it works."""

    def interrupt(self) -> None:
        """End the work."""


@dataclass
class Watch:
    """The queries that run for one request or job. May be stopped from any thread; a stopped one starts no further query."""

    bounds: Bounds = Bounds()
    error: FeatureStoreError | None = None
    _connections: set[Interruptible] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, error: FeatureStoreError) -> None:
        """Interrupt what runs. Whoever waits for it gets the error of the first stop. To be repeated until the work is over."""
        with self._lock:
            self.error = self.error or error
            for connection in self._connections:
                connection.interrupt()

    def check(self) -> None:
        """Raises: the error that it was stopped with."""
        if self.error is not None:
            raise self.error

    @contextmanager
    def over(self, connection: Interruptible) -> Iterator[None]:
        """Interrupt this connection as well when stopped. Raises: as `check`."""
        with self._lock:
            self.check()
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


_CURRENT: ContextVar[Watch | None] = ContextVar("featurestore_watch", default=None)


def current() -> Watch:
    """The watch that this thread works under; one that nobody stops where there is none."""
    return _CURRENT.get() or Watch()


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let `watch` be the current one."""
    token = _CURRENT.set(watch)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def limited(seconds: float | None, error: FeatureStoreError) -> Iterator[None]:
    """Stop the queries of this thread's work with `error` after so many seconds; None: never."""
    watch, over = Watch(), threading.Event()
    until = None if seconds is None else time.monotonic() + seconds

    def keep() -> None:
        if until is not None and not over.wait(until - time.monotonic()):
            while not over.is_set():
                watch.stop(error)
                over.wait(AGAIN_SECONDS)

    thread = threading.Thread(target=keep, name="deadline", daemon=True)
    if until is not None:
        thread.start()
    try:
        with watched(watch):
            yield
    finally:
        over.set()
        if until is not None:
            thread.join()
