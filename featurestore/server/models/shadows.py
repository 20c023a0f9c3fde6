"""Score versions beside those that answer: later, together for several requests, and for a small part of the time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.records.traffic_split import TrafficSplit
from featurestore.server.models.restricted import restricted_reader
from featurestore.server.requests.body import Record

if TYPE_CHECKING:
    from featurestore.access.rights import Rights
    from featurestore.models.prediction_log.log import PredictionLog
    from featurestore.models.serving.arms import ArmModel

logger = logger_of(__name__)

QUEUED_ROWS = 20_000
"""Rows of a model that wait; more are dropped, and counted."""
BATCH_ROWS = 500
"""Rows that are scored at once."""
REST = 20
"""How many times as long as it scored the thread then waits. So it takes a twentieth of the time at most, whatever a version costs, and
answers are not delayed by more than that on average; what came meanwhile is scored together, which costs little more than one row."""
SCORED, FAILED, DROPPED = "scored", "failed", "dropped"
"""What happens to rows, for the metric."""


@dataclass(frozen=True)
class ShadowTask:
    """Rows of one request, with their numbers in it and the aliases that answered them.

    `rights` are those of whoever sent it; None: of an administrator.
    """

    split: TrafficSplit
    request_id: str
    params: Mapping[str, Any] | None
    rows: Sequence[Record]
    numbers: Sequence[int]
    answered: Sequence[str]
    rights: "Rights | None" = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What tasks have in common that are scored together: all members of the same groups see the same."""
        return self.split, self.params, None if self.rights is None else self.rights.principal.groups

    def part(self, places: Sequence[int]) -> "ShadowTask":
        """Only the rows at these places."""
        rows, numbers = [self.rows[place] for place in places], [self.numbers[place] for place in places]
        return replace(self, rows=rows, numbers=numbers, answered=[self.answered[place] for place in places])


Score = Callable[["ArmModel", Sequence[ShadowTask]], None]
"""Scores the rows of tasks of one kind, and logs them by request."""


def score_and_log(prediction_log: "PredictionLog", arm: "ArmModel", tasks: Sequence[ShadowTask]) -> None:
    """Predict for the rows of all tasks at once, and log them by request. Raises: whatever a model raises."""
    rights = tasks[0].rights
    reader = None if rights is None else restricted_reader(rights, arm.model)
    finished = arm.model.finish([row for task in tasks for row in task.rows], tasks[0].params, reader=reader)
    start = 0
    for task in tasks:
        part = finished.part(start, start + len(task.rows))
        prediction_log.record(part, task.request_id, arm=arm.alias, shadow=True, rows=task.numbers)
        start += len(task.rows)


class Shadows:
    """The queues and threads of a process, one for each model with shadows. Nothing that happens here reaches a caller."""

    def __init__(
        self,
        find: "Callable[[TrafficSplit], Sequence[ArmModel]]",
        score: Score,
        count: Callable[[str, str, int], None],
        *,
        rest: float = REST,
    ) -> None:
        """`find` gives the shadows of a split; `count` is called with a model, what happened, and to how many rows."""
        self._find, self._score, self._count, self._rest = find, score, count, rest
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._stopped = threading.Event()

    def put(self, task: ShadowTask) -> None:
        """Have rows scored, unless too many wait. Returns at once."""
        if self._stopped.is_set():
            return
        with self._lock:
            queue = self._queues.get(task.split.model)
            if queue is None:
                queue = self._queues[task.split.model] = _Queue()
                name = f"shadows of {task.split.model[:50]}"
                threading.Thread(target=self._run, args=(queue,), name=name, daemon=True).start()
        for start in range(0, len(task.rows), BATCH_ROWS):
            part = task.part(range(start, min(start + BATCH_ROWS, len(task.rows))))
            if not queue.put(part):
                self._count(task.split.model, DROPPED, len(part.rows))

    def close(self) -> None:
        """End the threads when they have scored what they are at; the rest is dropped."""
        self._stopped.set()
        with self._lock:
            for queue in self._queues.values():
                queue.wake()

    def _run(self, queue: "_Queue") -> None:
        while not self._stopped.is_set():
            tasks = queue.take()
            if not tasks:
                continue
            began = time.perf_counter()
            self._score_all(tasks)
            # A thread that holds the interpreter delays those that answer, so it rests in proportion.
            self._stopped.wait((time.perf_counter() - began) * self._rest)

    def _score_all(self, tasks: Sequence[ShadowTask]) -> None:
        split = tasks[0].split
        try:
            shadows = self._find(split)
        except BaseException as error:  # noqa: BLE001 - nothing of a shadow reaches anybody but the log
            self._fail(split.model, tasks, error)
            return
        for arm in shadows:
            # Rows that this alias has answered were scored by it already.
            parts = [task.part([place for place, alias in enumerate(task.answered) if alias != arm.alias]) for task in tasks]
            self._score_together(arm, [part for part in parts if part.rows])

    def _score_together(self, arm: "ArmModel", tasks: Sequence[ShadowTask]) -> None:
        """Score tasks together; if that fails, each by itself, so that the rows of one request do not fail those of others."""
        if not tasks:
            return
        try:
            self._score(arm, tasks)
        except BaseException as error:  # noqa: BLE001 - a model may raise anything
            if len(tasks) == 1:
                self._fail(tasks[0].split.model, tasks, error)
                return
            for task in tasks:
                self._score_together(arm, [task])
        else:
            self._count(tasks[0].split.model, SCORED, sum(len(task.rows) for task in tasks))

    def _fail(self, model: str, tasks: Sequence[ShadowTask], error: BaseException) -> None:
        self._count(model, FAILED, sum(len(task.rows) for task in tasks))
        reason = error.message if isinstance(error, FeatureStoreError) else type(error).__name__
        logger.debug("a shadow of model %s failed: %s", model, reason)


class _Queue:
    """Tasks of one model that wait; a limited number of rows."""

    def __init__(self) -> None:
        self._tasks: deque[ShadowTask] = deque()
        self._rows = 0
        self._filled = threading.Condition()

    def put(self, task: ShadowTask) -> bool:
        """Add a task. Returns False if there is no room for its rows."""
        with self._filled:
            if self._rows + len(task.rows) > QUEUED_ROWS:
                return False
            self._tasks.append(task)
            self._rows += len(task.rows)
            self._filled.notify()
            return True

    def take(self) -> list[ShadowTask]:
        """Wait for a task, and take those after it that can be scored with it, up to BATCH_ROWS rows; empty after `wake`."""
        with self._filled:
            if not self._tasks:
                self._filled.wait()
            taken: list[ShadowTask] = []
            rows = 0
            while self._tasks:
                task = self._tasks[0]
                if taken and (rows + len(task.rows) > BATCH_ROWS or task.kind != taken[0].kind):
                    break
                taken.append(self._tasks.popleft())
                rows += len(task.rows)
            self._rows -= rows
            return taken

    def wake(self) -> None:
        """Let the thread that waits look whether it is to end."""
        with self._filled:
            self._filled.notify_all()
