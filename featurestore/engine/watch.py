"""A watch interrupts the queries of one request or job, at its deadline or when it is canceled."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from featurestore.errors import FeatureStoreError

INTERRUPT_INTERVAL = 0.1
"""Seconds between interrupts of a stopped watch: DuckDB drops an interrupt that comes between two queries."""


@dataclass(frozen=True)
class Bounds:
    """Limits of a request or job in bytes: `memory` and `spill` of each session (None: the settings, or DuckDB's default).

    `result` limits the result in memory, and `spine` the rows of a spine on disk (None: no limit).
    """

    memory: int | None = None
    spill: int | None = None
    result: int | None = None
    spine: int | None = None


class Interruptible(Protocol):
    """Work that another thread can interrupt; interrupts are repeated until it ends."""

    def interrupt(self) -> None:
        """Interrupt the work."""


@dataclass
class Watch:
    """Tracks the queries of one request or job. Any thread may stop it; no query starts after that."""

    bounds: Bounds = Bounds()
    error: FeatureStoreError | None = None
    _connections: set[Interruptible] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, error: FeatureStoreError) -> None:
        """Interrupt running queries, which raise the error of the first stop. Repeat the call until the work has ended."""
        with self._lock:
            self.error = self.error or error
            for connection in self._connections:
                connection.interrupt()

    def check(self) -> None:
        """Raise the error that the watch was stopped with, if it was."""
        if self.error is not None:
            raise self.error

    @contextmanager
    def over(self, connection: Interruptible) -> Iterator[None]:
        """Add a connection, which `stop` interrupts, during the block. Raises: as `check`."""
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
    """The watch of this thread; a new one, which is never stopped, if there is none."""
    return _CURRENT.get() or Watch()


@contextmanager
def use_watch(watch: Watch) -> Iterator[None]:
    """Make `watch` the current one during the block."""
    token = _CURRENT.set(watch)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def time_limit(seconds: float | None, error: FeatureStoreError) -> Iterator[None]:
    """Stop the queries of the block with `error` after so many seconds; None: no limit."""
    watch, over = Watch(), threading.Event()
    until = None if seconds is None else time.monotonic() + seconds

    def keep() -> None:
        if until is not None and not over.wait(until - time.monotonic()):
            while not over.is_set():
                watch.stop(error)
                over.wait(INTERRUPT_INTERVAL)

    thread = threading.Thread(target=keep, name="deadline", daemon=True)
    if until is not None:
        thread.start()
    try:
        with use_watch(watch):
            yield
    finally:
        over.set()
        if until is not None:
            thread.join()
