"""The process of one job: bounded in memory, bound to its consumer, and the one that records how the job went."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

from featurestore.engine.watch import time_limit
from featurestore.errors import FeatureStoreError, Timeout
from featurestore.masking import logger_of
from featurestore.pipelines.training_sets.progress import FINISH
from featurestore.server import hidden_paths, logs
from featurestore.server.error_body import document, document_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.handlers import WORKS, PartialResult
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_store import JobFolder, spill_of
from featurestore.settings import Settings
from featurestore.store import FeatureStore, confine

log = logger_of(__name__)

REPORT_SECONDS = 0.1


def main(settings: str, root: Path, id: str) -> None:
    """Do the job of this id, unless another process does it or it was cancelled; `settings` is JSON."""
    logs.begin()
    threading.Thread(target=_end_with_the_consumer, daemon=True).start()
    wanted = Settings(**json.loads(settings))
    # What it spills lies apart, for the consumer to take away should this process be killed.
    run = Run(JobFolder(root), wanted.model_copy(update={"spill_directory": spill_of(wanted.spill_path(), id)}))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, run.stop)
    run.job(id)


class Run:
    """One run of one job."""

    def __init__(self, folder: JobFolder, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._finishing = False
        self._job: Job | None = None
        self._told = 0.0

    def job(self, id: str) -> None:
        """Do it, and record how it went."""
        with self._folder.running(id) as free:
            job = self._job = self._folder.begin(id) if free else None
            if job is None:
                return
            result, error = self._outcome(job)
            self._finishing = True
            shutil.rmtree(self._settings.spill_path(), ignore_errors=True)
            self._folder.end(self._job or job, "done" if error is None else "failed", result, error)

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Unwind, so that what is half written goes; not when all but the commit is done."""
        if not self._finishing:
            sys.exit(signum)

    def report(self, progress: dict[str, Any]) -> None:
        """Record progress, but not more often than anyone looks."""
        self._finishing = progress.get("stage") == FINISH
        if self._job is None or (time.monotonic() - self._told < REPORT_SECONDS and not self._finishing):
            return
        self._told = time.monotonic()
        self._job = replace(self._job, progress=progress)
        self._folder.write(self._job)

    def _outcome(self, job: Job) -> tuple[Any, dict[str, Any] | None]:
        """Its result, or its error."""
        cap = self._settings.job_memory()
        memory.bound(cap)
        try:
            hidden_paths.hide_paths_of(self._settings)
            with time_limit(self._settings.job_seconds, _overdue(self._settings)), FeatureStore(settings=self._settings) as store:
                done = WORKS[job.kind](confine(store), self._folder.path(job.id), self._folder.request(job.id), self.report)
            if not isinstance(done, PartialResult):
                return done, None
            result, found = done.result, _document(job, done.error, cap)
        except FeatureStoreError as failed:
            result, found = None, _document(job, failed, cap)
        except Exception as failed:  # whatever happens to one job, its record must say so
            log.exception("job %s failed", job.id)
            unexpected = document("InternalError", f"the server failed at this job; its log says more under {job.id}")
            result, found = None, document_of(memory.shortage(cap)) if memory.is_shortage(failed) else unexpected
        memory.unbound()
        error: dict[str, Any] = found["error"]
        return result, error


def _overdue(settings: Settings) -> Timeout:
    return Timeout(f"the job was stopped after {settings.job_seconds:g} s; raise job_seconds, or ask for less at once")


def _document(job: Job, failed: FeatureStoreError, cap: int) -> dict[str, Any]:
    log.warning("job %s failed: %s", job.id, failed, exc_info=failed.__cause__)
    return document_of(memory.shortage(cap) if memory.is_shortage(failed) else failed)


def _end_with_the_consumer() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        # Nobody is left to be told; the lock goes with the process, and the next consumer begins anew.
        os._exit(1)
