"""Expressions over a few rows, in processes that can be ended: one call of `levenshtein` may take hours, which nothing interrupts."""

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from featurestore.engine.session import ColumnValues
from featurestore.engine.watch import current
from featurestore.errors import FeatureStoreError, NotReady, OutOfResources
from featurestore.server.workers.origin import EVALUATION, FORKS
from featurestore.settings import Settings

KEPT = 2
"""Processes that are kept for later when nobody needs them."""
MEMORY_BYTES = 2 << 30
"""Most memory of one of them: there may be as many as there are lookups at once."""


class Evaluation:
    """A process that evaluates for one thread at a time."""

    def __init__(self, memory: int, process_memory: int) -> None:
        """`memory`, in bytes, is for its engine, `process_memory` for all of it. Raises: NotReady."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._pid = FORKS.ask(EVALUATION, [theirs.fileno()])
        self._connection = Connection(ours.detach())
        try:
            self._connection.send((memory, process_memory))
        except ConnectionError as error:
            self._connection.close()
            raise NotReady("the process that computes derived features ended at once; the server's log may say why") from error

    def ask(self, what: str, arguments: Sequence[Any]) -> Any:
        """What the method of the evaluator answers. Raises: its error; EOFError when the process has ended."""
        try:
            self._connection.send((what, arguments))
            answer, error = self._connection.recv()
        except ConnectionError as ended:
            raise EOFError from ended
        if error is not None:
            raise error
        return answer

    @property
    def ended(self) -> bool:
        """Whether it has ended while nobody asked it for anything: it says nothing by itself."""
        return self._connection.poll()

    def interrupt(self) -> None:
        """End it, whatever it does."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it end: it reads until nobody is there."""
        self._connection.close()


class Evaluations:
    """An evaluator whose work ends when its watch is stopped. As many processes as threads that evaluate; few are kept."""

    def __init__(self, settings: Settings) -> None:
        self._memory, self._process_memory = settings.query_memory(), min(settings.server_memory(), MEMORY_BYTES)
        self._idle: list[Evaluation] = []
        self._lock = Lock()
        self._closed = False

    def evaluate(self, expressions: Sequence[str], given: ColumnValues, rows: int | None = None) -> list[list[Any]]:
        """See Evaluator. Raises: OutOfResources when the process breaks down; what the watch was stopped with; NotReady."""
        found: list[list[Any]] = self._ask("evaluate", (expressions, given, rows))
        return found

    def types_of(self, expressions: Sequence[str], given: ColumnValues, rows: int = 1) -> tuple[str, ...]:
        """See Evaluator. Raises: as `evaluate`."""
        found: tuple[str, ...] = self._ask("types_of", (expressions, given, rows))
        return found

    def close(self) -> None:
        """Let all processes go that nobody needs; those that work end with their work."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _ask(self, what: str, arguments: Sequence[Any]) -> Any:
        watch = current()
        # One that waited for a thread until its deadline takes no process.
        watch.check()
        evaluation = self._taken()
        try:
            with watch.over(evaluation):
                answer = evaluation.ask(what, arguments)
        except EOFError as error:
            evaluation.close()
            watch.check()
            raise OutOfResources(
                "the process that computed derived features broke down, as libraries do that get no memory; send fewer rows at once"
            ) from error
        except FeatureStoreError:
            self._give_back(evaluation)
            raise
        except BaseException:
            evaluation.interrupt()
            evaluation.close()
            raise
        self._give_back(evaluation)
        return answer

    def _taken(self) -> Evaluation:
        with self._lock:
            if self._closed:
                raise NotReady("the server is ending")
            while self._idle:
                if not (idle := self._idle.pop()).ended:
                    return idle
                idle.close()
        return Evaluation(self._memory, self._process_memory)

    def _give_back(self, evaluation: Evaluation) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < KEPT:
                self._idle.append(evaluation)
                return
        evaluation.close()
