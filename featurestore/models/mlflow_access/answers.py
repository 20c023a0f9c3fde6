"""The last answers of a service that may not respond: one thread asks, and callers wait only while an answer can be expected."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from featurestore.errors import FeatureStoreError, NotReady

AnswerT = TypeVar("AnswerT")

KEPT = 1024
"""Answers kept, of the names asked for last: callers choose the names."""


@dataclass(frozen=True)
class _Known(Generic[AnswerT]):
    at: float
    answer: AnswerT


class Answers(Generic[AnswerT]):
    """Answers of a service by name, refreshed when they are older than `seconds`.

    One call runs at a time, in a dedicated thread; callers of the same name share its answer. A caller waits up to `wait`
    seconds for a first answer, and up to `grace` for a newer one. While the service does not respond (the current call takes longer than
    `grace`, or the last one failed less than `seconds` ago), callers get the last answer, or an error, without waiting.
    """

    def __init__(
        self,
        ask: Callable[[str], AnswerT],
        *,
        seconds: float = 5.0,
        wait: float = 10.0,
        grace: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds, self._wait, self._grace, self._clock = seconds, wait, grace, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known[AnswerT]] = OrderedDict()
        self._pending: dict[str, Future[AnswerT]] = {}
        self._queue: deque[str] = deque()
        self._asking = False
        self._asked_at = 0.0
        self._failed: tuple[float, FeatureStoreError] | None = None

    def get(self, name: str, patient: bool = False) -> AnswerT:
        """The answer for a name, not older than `seconds` if the service responds, else the last one.

        `patient`: wait for a first answer although the service does not respond at the moment. Raises: NotReady if there is none; any
        other error that the question raises.
        """
        with self._lock:
            last = self._known.get(name)
            if last is not None and self._clock() - last.at < self._seconds:
                return last.answer
            silent = self._silence()
            if silent is not None and not (patient and last is None):
                if last is None:
                    raise silent
                self._enqueue(name)
                return last.answer
            pending = self._enqueue(name)
        try:
            return pending.result(self._wait if last is None else self._grace)
        except TimeoutError as error:
            if last is None:
                raise NotReady(f"no response within {self._wait:g} s, and nothing cached; try again later") from error
            return last.answer
        except NotReady:
            if last is None:
                raise
            return last.answer

    def peek(self, name: str) -> AnswerT | None:
        """The answer for a name without waiting, if it is new enough, or as good as there is; None if `get` might wait."""
        with self._lock:
            last = self._known.get(name)
            if last is None:
                return None
            if self._clock() - last.at < self._seconds:
                return last.answer
            if self._silence() is None:
                return None
            self._enqueue(name)
            return last.answer

    def expire(self, name: str) -> None:
        """Make the next caller ask again: something is known to have changed."""
        with self._lock:
            last = self._known.get(name)
            if last is not None:
                self._known[name] = _Known(float("-inf"), last.answer)

    def put(self, name: str, answer: AnswerT) -> None:
        """Take an answer that somebody else has got."""
        with self._lock:
            self._keep(name, answer)

    def last(self, name: str) -> AnswerT | None:
        """The last answer for a name, however old; None if there is none."""
        with self._lock:
            known = self._known.get(name)
            return None if known is None else known.answer

    def names(self) -> list[str]:
        """The names that have an answer."""
        with self._lock:
            return list(self._known)

    def ask(self, name: str) -> "Future[AnswerT]":
        """Ask about a name, without waiting."""
        with self._lock:
            return self._enqueue(name)

    def _keep(self, name: str, answer: AnswerT) -> None:
        self._known[name] = _Known(self._clock(), answer)
        self._known.move_to_end(name)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    def _silence(self) -> FeatureStoreError | None:
        """The error to raise while the service is silent; None if it may respond."""
        if self._failed is not None and self._clock() - self._failed[0] < self._seconds:
            return self._failed[1]
        if self._asking and self._clock() - self._asked_at > self._grace:
            return NotReady(f"MLflow has not responded for {self._clock() - self._asked_at:.0f} s; try again later")
        return None

    def _enqueue(self, name: str) -> "Future[AnswerT]":
        """The question about a name, asked already or next; not asked again within `seconds` of a failure."""
        pending = self._pending.get(name)
        if pending is not None:
            return pending
        pending = Future()
        if self._failed is not None and self._clock() - self._failed[0] < self._seconds:
            pending.set_exception(self._failed[1])
            return pending
        self._pending[name] = pending
        self._queue.append(name)
        if not self._asking:
            self._asking, self._asked_at = True, self._clock()
            threading.Thread(target=self._run, name="answers", daemon=True).start()
        return pending

    def _run(self) -> None:
        """Ask what is in the queue, and end."""
        while True:
            with self._lock:
                if not self._queue:
                    self._asking = False
                    return
                name, self._asked_at = self._queue.popleft(), self._clock()
            self._ask_one(name)

    def _ask_one(self, name: str) -> None:
        answer: AnswerT | None = None
        failure: BaseException | None = None
        try:
            answer = self._ask(name)
        except BaseException as error:  # noqa: BLE001 - whoever asked gets it
            failure = error
        with self._lock:
            pending = self._pending.pop(name)
            if failure is None:
                self._failed = None
                self._keep(name, answer)  # type: ignore[arg-type]
            elif isinstance(failure, NotReady):
                self._failed = (self._clock(), failure)
                waiting = [self._pending.pop(other) for other in self._queue]
                self._queue.clear()
            else:
                self._known.pop(name, None)
        if failure is None:
            pending.set_result(answer)  # type: ignore[arg-type]
            return
        pending.set_exception(failure)
        if isinstance(failure, NotReady):
            for other in waiting:
                other.set_exception(failure)
