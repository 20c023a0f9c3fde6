"""Jobs as a server's requests see them: asked for, watched, cancelled. They run in processes of their own."""

import asyncio
import time
from pathlib import Path
from typing import Any

from featurestore.errors import NotReady
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_queue import JobQueue
from featurestore.server.jobs.job_store import Fill, JobFolder

WAITING = 16
LOOK_SECONDS = 0.05


class Jobs:
    """The jobs of one home folder; a `JobWorker` somewhere on this machine must run for them to get on."""

    def __init__(self, root: Path) -> None:
        self._folder = JobFolder(root)
        self._queue = JobQueue(root, _nowhere)

    def start(self, id: str, kind: str, request: dict[str, Any], fill: Fill | None = None) -> Job:
        """Queue the job, or return the one of this id that is queued or running already, wherever that was asked for.

        `request` is JSON-ready, `fill` writes what else the job needs into its folder. Raises: NotReady when too many jobs wait.
        """
        held = self.get(id)
        if held is not None and held.live:
            return held
        if len(self._queue.waiting()) >= WAITING:
            raise NotReady(f"{WAITING} jobs are waiting already; ask again when some are done")
        job, new = self._folder.add(id, kind, request, fill or (lambda folder: None))
        if new:
            self._queue.put(id)
        return job

    def get(self, id: str) -> Job | None:
        """The job as it stands; None when there is no record of it."""
        return self._folder.get(id)

    async def ended(self, id: str, seconds: float) -> Job | None:
        """The job when it is over, or as it stands after so many seconds."""
        until = time.monotonic() + seconds
        while (job := self.get(id)) is not None and job.live and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        return job

    def cancel(self, id: str) -> Job | None:
        """End a queued job, ask a running one to end; as it then stands."""
        return self._folder.cancel(id)

    def close(self) -> None:
        """Close the queue's file."""
        self._queue.close()


def _nowhere(id: str) -> None:
    raise RuntimeError(f"job {id} was taken by a process that only puts jobs into the queue")
