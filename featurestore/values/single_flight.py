"""One call at a time for each key: callers that come meanwhile wait for its result."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Value = TypeVar("Value")

WAIT_SECONDS = 30.0


class SingleFlight(Generic[Value]):
    """Calls that many threads need at the same time, and that only one of them makes.

    Whoever has waited for `wait_seconds` makes a call of its own: the other may hang, or its thread may have stayed behind in a fork.
    """

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Value]] = {}

    def call(self, key: Hashable, function: Callable[[], Value]) -> Value:
        """The result of the function, or of the call with this key that is under way. Raises: what that call raises."""
        with self._lock:
            waiting = self._under_way.get(key)
            if waiting is None:
                self._under_way[key] = Future[Value]()
        if waiting is not None:
            return waiting.result() if wait([waiting], self._wait_seconds).done else function()
        try:
            value = function()
        except BaseException as error:
            self._end(key).set_exception(error)
            raise
        self._end(key).set_result(value)
        return value

    def _end(self, key: Hashable) -> "Future[Value]":
        with self._lock:
            return self._under_way.pop(key)
