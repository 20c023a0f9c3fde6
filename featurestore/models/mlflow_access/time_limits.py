"""Limits on how long MLflow's client waits for a tracking server: by default it tries for four minutes."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ASK_SECONDS = 5
"""Seconds that a tracking server may take for an answer. The user's own MLFLOW_HTTP_* variables take precedence."""
TRANSFER_SECONDS = 30
"""Seconds that it may pause while artifacts are transferred."""
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}


class _Limits:
    """The variables that are set while anybody is in a limited context. MLflow has no other way to limit the requests of its functions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[int] = []
        self._ours: set[str] = set()

    def enter(self, seconds: int) -> None:
        with self._lock:
            self._active.append(seconds)
            self._set()

    def leave(self, seconds: int) -> None:
        with self._lock:
            self._active.remove(seconds)
            self._set()

    def _set(self) -> None:
        """The longest of the limits in use: a shorter one would end the transfer of another thread."""
        limits = {TIMEOUT: str(max(self._active)), **RETRIES} if self._active else {}
        for name in (TIMEOUT, *RETRIES):
            if name in os.environ and name not in self._ours:
                continue
            if name in limits:
                os.environ[name] = limits[name]
                self._ours.add(name)
            elif name in self._ours:
                del os.environ[name]
                self._ours.remove(name)


_LIMITS = _Limits()


@contextmanager
def limit_time(seconds: int = ASK_SECONDS) -> Iterator[None]:
    """A context in which requests to MLflow end after so many seconds and one more attempt, unless the user has set other limits."""
    _LIMITS.enter(seconds)
    try:
        yield
    finally:
        _LIMITS.leave(seconds)
