"""First-in, first-out queues of job ids, stored by huey in a SQLite file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from huey import SqliteHuey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from featurestore import private
from featurestore.server.jobs.job import FILLING

POLL_SECONDS = 0.1
"""How often an idle worker thread looks for a job."""


class JsonSerializer(Serializer):
    """Messages as JSON rather than pickles: the file outlives the server's version, and reading it must not run code."""

    def _serialize(self, data: Any) -> bytes:
        return orjson.dumps(list(data))

    def _deserialize(self, data: bytes) -> Any:
        return Message(*orjson.loads(bytes(data)))


class QueueConsumer(Consumer):
    """huey's consumer without its signal handlers: the process that runs it installs its own."""

    def _set_signal_handlers(self) -> None:
        """Install none."""


class JobQueue:
    """One queue of a home folder. A consumer calls `run` with the id of each job."""

    def __init__(self, root: Path, name: str, run: Callable[[str], None]) -> None:
        private.make_folder(root)
        private.make_file(root / "queue.db")
        self._huey = SqliteHuey(name, filename=str(root / "queue.db"), results=False, serializer=JsonSerializer(), strict_fifo=True)
        self._put = self._huey.task(name="job")(_as_task(run))

    def put(self, id: str) -> None:
        """Append an id. A duplicate does no harm: when it is taken, the job is no longer queued, and is skipped."""
        self._put(id)

    def waiting(self) -> list[str]:
        """The ids in the queue, in order."""
        return [task.args[0] for task in self._huey.pending()]

    def consumer(self, workers: int) -> "QueueConsumer":
        """A consumer that takes ids from the queue, with this number of threads."""
        return QueueConsumer(
            self._huey, workers, periodic=False, initial_delay=POLL_SECONDS, backoff=1, max_delay=POLL_SECONDS, scheduler_interval=60
        )

    def close(self) -> None:
        """Close this thread's connection to the file."""
        self._huey.storage.close()


class JobQueues:
    """The queues of one home folder: one for most jobs, and one for the job that fills the online store, which must not wait for others."""

    def __init__(self, root: Path, run: Callable[[str], None]) -> None:
        self._jobs, self._filling = JobQueue(root, "jobs", run), JobQueue(root, "filling", run)

    def of(self, kind: str) -> JobQueue:
        """The queue of a kind of jobs."""
        return self._filling if kind == FILLING else self._jobs

    def consumers(self, workers: int) -> "list[QueueConsumer]":
        """A consumer for each queue: the first one takes `workers` jobs at a time, the other the job that fills the online store."""
        return [self._jobs.consumer(workers), self._filling.consumer(1)]

    def close(self) -> None:
        """Close this thread's connections to the file."""
        self._jobs.close()
        self._filling.close()


def _as_task(run: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap `run` in a function of a fixed module and name: huey identifies tasks by these, in producers and consumers alike."""

    def job(id: str) -> None:
        run(id)

    return job
