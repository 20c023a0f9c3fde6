"""The process of one job: limits its own memory, records the result, and ends when its consumer does."""

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

from featurestore.access.rights import OPERATOR
from featurestore.access.standing import check_standing
from featurestore.engine.watch import time_limit
from featurestore.errors import FeatureStoreError, Timeout
from featurestore.masking import logger_of
from featurestore.pipelines.training_sets.progress import FINISH
from featurestore.server import hidden_paths, logs
from featurestore.server.audit_log.jobs import JobRecords
from featurestore.server.error_body import document, document_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.handlers import HANDLERS, PartialResult
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_store import JobStore, spill_path
from featurestore.settings import Settings
from featurestore.store import FeatureStore, confine

logger = logger_of(__name__)

REPORT_SECONDS = 0.1


def run_job(settings: str, root: Path, id: str) -> None:
    """Run the job with this id, unless another process runs it or it was cancelled; `settings` is JSON."""
    logs.begin()
    threading.Thread(target=_exit_with_consumer, daemon=True).start()
    parsed = Settings(**json.loads(settings))
    # A spill folder of its own, which the consumer deletes if this process is killed.
    run = JobRun(JobStore(root), parsed.model_copy(update={"spill_directory": spill_path(parsed.spill_path(), id)}))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, run.stop)
    run.run(id)


class JobRun:
    """One run of a job: executes it and writes its progress and its end to the job store."""

    def __init__(self, jobs: JobStore, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._finishing = self._stopped = False
        self._job: Job | None = None
        self._reported_at = 0.0

    def run(self, id: str) -> None:
        """Run the job with this id and record its result or its error."""
        with self._jobs.running(id) as free:
            job = self._job = self._jobs.begin(id) if free else None
            if job is None:
                return
            claim = self._jobs.claim(id)
            records = JobRecords(self._settings, job, None if claim is None else claim.principal.key, self._jobs.request(id))
            result, error = self._execute(job, records)
            try:
                records.end(None if error is None else str(error["type"]))
            except FeatureStoreError as failed:
                result, error = None, document_of(failed)["error"]
            self._finishing = True
            shutil.rmtree(self._settings.spill_path(), ignore_errors=True)
            self._jobs.end(self._job or job, "done" if error is None else "failed", result, error)

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: unwind, so that partial files are deleted. Ignored once only the commit is left."""
        if not self._finishing:
            self._stopped = True
            sys.exit(signum)

    def report(self, progress: dict[str, Any]) -> None:
        """Record progress, at most once every `REPORT_SECONDS`. Exits if the job was stopped."""
        self._finishing = progress.get("stage") == FINISH
        # The exit of `stop` is lost if the interpreter was in a callback of its own (of a weak reference, say).
        if self._stopped:
            sys.exit(signal.SIGTERM)
        if self._job is None or (time.monotonic() - self._reported_at < REPORT_SECONDS and not self._finishing):
            return
        self._reported_at = time.monotonic()
        self._job = replace(self._job, progress=progress)
        self._jobs.write(self._job)

    def _execute(self, job: Job, records: JobRecords) -> tuple[Any, dict[str, Any] | None]:
        """Run the handler of a job. Returns its result (None if it has none) and its error (None if it succeeded)."""
        max_bytes = self._settings.job_memory()
        memory.limit_subprocess(max_bytes)
        try:
            hidden_paths.hide_paths_of(self._settings)
            with time_limit(self._settings.job_seconds, _timeout_error(self._settings)), FeatureStore(settings=self._settings) as store:
                claim = self._jobs.claim(job.id)
                rights = OPERATOR if claim is None else check_standing(store.backend.runtime, claim)
                records.begin()
                outcome = HANDLERS[job.kind](
                    confine(store, author=job.by, rights=rights), self._jobs.path(job.id), self._jobs.request(job.id), self.report
                )
            if not isinstance(outcome, PartialResult):
                return outcome, None
            result, body = outcome.result, _error_body(job, outcome.error, max_bytes)
        except FeatureStoreError as failed:
            self._exit_if_stopped(failed)
            result, body = None, _error_body(job, failed, max_bytes)
        except Exception as failed:  # the record of a job must show any failure
            self._exit_if_stopped(failed)
            logger.exception("job %s failed", job.id)
            unexpected = document("InternalError", f"the job failed unexpectedly; the server's log says more under {job.id}")
            result, body = None, document_of(memory.shortage_error(max_bytes)) if memory.is_shortage(failed) else unexpected
        memory.lift_limit()
        error: dict[str, Any] = body["error"]
        return result, error

    def _exit_if_stopped(self, error: Exception) -> None:
        """Exit if the job was stopped: libraries in C turn the exit that interrupts them into errors of their own."""
        if self._stopped:
            raise SystemExit(signal.SIGTERM) from error


def _timeout_error(settings: Settings) -> Timeout:
    return Timeout(f"the job was stopped after {settings.job_seconds:g} s; raise job_seconds, or ask for less at once")


def _error_body(job: Job, failed: FeatureStoreError, max_bytes: int) -> dict[str, Any]:
    logger.warning("job %s failed: %s", job.id, failed, exc_info=failed.__cause__)
    return document_of(memory.shortage_error(max_bytes) if memory.is_shortage(failed) else failed)


def _exit_with_consumer() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        # Nothing to record: the lock is released with the process, and the next consumer restarts the job.
        os._exit(1)
