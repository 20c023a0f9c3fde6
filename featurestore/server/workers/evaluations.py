"""Compute expressions over a few rows in processes that can be killed: a call of `levenshtein` may take hours and cannot be interrupted."""

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

MAX_IDLE = 2
"""Most idle processes that are kept for later requests."""
MEMORY_BYTES = 2 << 30
"""Most memory of one process; there may be as many processes as concurrent lookups."""


class Unread(EOFError):
    """A process has ended before it read a call."""


class Evaluation:
    """The web process's side of an evaluation process, which serves one thread at a time."""

    def __init__(self, memory: int, process_memory: int) -> None:
        """`memory` limits the engine and `process_memory` the whole process, in bytes. Raises: NotReady."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._pid = FORKS.fork(EVALUATION, [theirs.fileno()])
        self._connection = Connection(ours.detach())
        try:
            self._connection.send((memory, process_memory))
        except ConnectionError as error:
            self._connection.close()
            raise NotReady("the process that computes derived features ended at once; the server's log may say why") from error

    def call(self, method: str, arguments: Sequence[Any]) -> Any:
        """Call a method of the evaluator in the process.

        Raises: the error that it raises; Unread if the process has ended before it read the call, and EOFError if it has ended since.
        """
        try:
            self._connection.send((method, arguments))
            answer, error = self._connection.recv()
        except ConnectionError as ended:
            raise Unread from ended
        if error is not None:
            raise error
        return answer

    @property
    def ended(self) -> bool:
        """Whether an idle process has ended: it sends nothing unasked, so that anything to read is the end of the socket."""
        return self._connection.poll()

    def interrupt(self) -> None:
        """Kill the process, whatever it does."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the socket; the process then exits."""
        self._connection.close()


class Evaluations:
    """An evaluator that runs in processes, and kills one when the watch of its request is stopped.

    There are as many processes as threads that evaluate at the same time; at most `MAX_IDLE` are kept when idle.
    """

    def __init__(self, settings: Settings) -> None:
        self._memory, self._process_memory = settings.query_memory(), min(settings.server_memory(), MEMORY_BYTES)
        self._idle: list[Evaluation] = []
        self._lock = Lock()
        self._closed = False

    def evaluate(self, expressions: Sequence[str], inputs: ColumnValues, rows: int | None = None) -> list[list[Any]]:
        """See Evaluator. Raises: OutOfResources if the process crashes; the error with which the watch was stopped; NotReady."""
        columns: list[list[Any]] = self._call("evaluate", (expressions, inputs, rows))
        return columns

    def types_of(self, expressions: Sequence[str], inputs: ColumnValues, rows: int = 1) -> tuple[str, ...]:
        """See Evaluator. Raises: as `evaluate`."""
        types: tuple[str, ...] = self._call("types_of", (expressions, inputs, rows))
        return types

    def close(self) -> None:
        """End idle processes. Busy ones end when their work does."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _call(self, method: str, arguments: Sequence[Any], fresh: bool = False) -> Any:
        """Call a method in an idle process, or in a new one; `fresh`: in a new one."""
        watch = current()
        # A request whose deadline passed while it waited for a thread needs no process.
        watch.check()
        evaluation, was_idle = (self._begin(), False) if fresh else self._take()
        try:
            with watch.over(evaluation):
                answer = evaluation.call(method, arguments)
        except EOFError as error:
            evaluation.close()
            watch.check()
            if was_idle and isinstance(error, Unread):
                # It ended before this request, by no fault of its expressions.
                return self._call(method, arguments, fresh=True)
            raise OutOfResources(
                "the process that computed derived features crashed, as libraries do when an allocation fails; send fewer rows at once"
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

    def _take(self) -> tuple[Evaluation, bool]:
        """A process for one request, and whether it was idle."""
        with self._lock:
            while self._idle and not self._closed:
                if not (idle := self._idle.pop()).ended:
                    return idle, True
                idle.close()
        return self._begin(), False

    def _begin(self) -> Evaluation:
        if self._closed:
            raise NotReady("the server is shutting down")
        return Evaluation(self._memory, self._process_memory)

    def _give_back(self, evaluation: Evaluation) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(evaluation)
                return
        evaluation.close()
