"""Start, watch and cancel jobs from a server's requests; other processes run them."""

import asyncio
import time
from pathlib import Path
from typing import Any

from featurestore.access.claim import Claim
from featurestore.errors import NotReady
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_queue import JobQueues
from featurestore.server.jobs.job_store import Fill, JobStore

WAITING = 16
"""Most jobs in a queue."""
POLL_SECONDS = 0.05


class Jobs:
    """The jobs of one home folder. They run only while a `JobWorker` is open on this machine."""

    def __init__(self, root: Path) -> None:
        self._store = JobStore(root)
        self._queues = JobQueues(root, _refuse_to_run)

    def start(self, id: str, kind: str, request: dict[str, Any], fill: Fill | None = None, claim: Claim | None = None) -> Job:
        """Queue a job, or return the one with this id that is already queued or running.

        `request` is JSON-ready; `fill` writes further input files into the job's folder. `claim` says who asks for it, whose
        rights are checked again when the job begins; None: the server itself. Raises: NotReady if too many jobs are queued.
        """
        existing = self.get(id)
        if existing is not None and existing.live:
            return existing
        queue = self._queues.of(kind)
        if len(queue.waiting()) >= WAITING:
            raise NotReady(f"{WAITING} jobs are waiting already; try again when some are done")
        job, new = self._store.add(id, kind, request, fill or (lambda folder: None), claim)
        if new:
            queue.put(id)
        return job

    def get(self, id: str) -> Job | None:
        """The job; None if there is no record of it."""
        return self._store.get(id)

    async def wait_for_end(self, id: str, seconds: float) -> Job | None:
        """Wait until the job ends, for at most `seconds`, and return it as it is then; None if there is no record of it."""
        deadline = time.monotonic() + seconds
        while (job := self.get(id)) is not None and job.live and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        return job

    def cancel(self, id: str) -> Job | None:
        """Cancel a queued job at once, or request the cancellation of a running one.

        Returns the updated job; None if there is no record of it.
        """
        return self._store.cancel(id)

    def close(self) -> None:
        """Close the queue's file."""
        self._queues.close()


def _refuse_to_run(id: str) -> None:
    raise RuntimeError(f"job {id} was taken from the queue by a process that only adds jobs to it")
