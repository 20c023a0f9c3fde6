"""The queue: ids of jobs in the order in which they came, kept by huey in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from huey import SqliteHuey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from featurestore import private

LOOK_SECONDS = 0.1
"""How often an idle worker looks for a job."""


class JsonSerializer(Serializer):
    """Messages as JSON: a queue's file is read by servers to come, and must not be able to run code."""

    def _serialize(self, data: Any) -> bytes:
        return orjson.dumps(list(data))

    def _deserialize(self, data: bytes) -> Any:
        return Message(*orjson.loads(bytes(data)))


class Taker(Consumer):
    """huey's consumer, which leaves signals to the process that it is in."""

    def _set_signal_handlers(self) -> None:
        """None."""


class JobQueue:
    """A queue of one home folder; `run` does the job of an id, in a consumer."""

    def __init__(self, root: Path, run: Callable[[str], None]) -> None:
        private.make_folder(root)
        private.make_file(root / "queue.db")
        self._huey = SqliteHuey("jobs", filename=str(root / "queue.db"), results=False, serializer=JsonSerializer(), strict_fifo=True)
        self._put = self._huey.task(name="job")(_named(run))

    def put(self, id: str) -> None:
        """To the end of the queue. An id that is in it twice is no harm: by its second turn the job is not queued any more."""
        self._put(id)

    def waiting(self) -> list[str]:
        """The ids in the queue, in order."""
        return [task.args[0] for task in self._huey.pending()]

    def taker(self, workers: int) -> "Taker":
        """What takes ids from the queue, in so many threads."""
        return Taker(
            self._huey, workers, periodic=False, initial_delay=LOOK_SECONDS, backoff=1, max_delay=LOOK_SECONDS, scheduler_interval=60
        )

    def close(self) -> None:
        """Close this thread's connection to the file."""
        self._huey.storage.close()


def _named(run: Callable[[str], None]) -> Callable[[str], None]:
    """huey knows a task by the module and the name of its function, which must be the same for those who put and those who take."""

    def job(id: str) -> None:
        run(id)

    return job
