"""Start, watch and cancel jobs, for the requests of a server. Jobs run in separate processes."""

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
    """The jobs of one home folder. They make progress only while a `JobWorker` runs on this machine."""

    def __init__(self, root: Path) -> None:
        self._folder = JobFolder(root)
        self._queue = JobQueue(root, _nowhere)

    def start(self, id: str, kind: str, request: dict[str, Any], fill: Fill | None = None) -> Job:
        """Queue a job, or return the one with this id that is already queued or running.

        `request` is JSON-ready; `fill` writes other input of the job into its folder. Raises: NotReady if too many jobs are queued.
        """
        held = self.get(id)
        if held is not None and held.live:
            return held
        if len(self._queue.waiting()) >= WAITING:
            raise NotReady(f"{WAITING} jobs are waiting already; try again when some are done")
        job, new = self._folder.add(id, kind, request, fill or (lambda folder: None))
        if new:
            self._queue.put(id)
        return job

    def get(self, id: str) -> Job | None:
        """The job; None if there is no record of it."""
        return self._folder.get(id)

    async def ended(self, id: str, seconds: float) -> Job | None:
        """The job when it has ended, or after `seconds`; None if there is no record of it."""
        until = time.monotonic() + seconds
        while (job := self.get(id)) is not None and job.live and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        return job

    def cancel(self, id: str) -> Job | None:
        """Cancel a queued job at once, or request the end of a running one. Returns the job then."""
        return self._folder.cancel(id)

    def close(self) -> None:
        """Close the queue's file."""
        self._queue.close()


def _nowhere(id: str) -> None:
    raise RuntimeError(f"job {id} was taken from the queue by a process that only adds jobs to it")
