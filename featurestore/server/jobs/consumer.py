"""The job consumer: a process that takes jobs from the queue and runs each in a process of its own; `JobWorker` starts and ends it."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from featurestore import private, verbs
from featurestore.masking import logger_of
from featurestore.server import logs
from featurestore.server.error_body import document, document_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.job_queue import POLL_SECONDS, JobQueues
from featurestore.server.jobs.job_store import JobStore, spill_path

logger = logger_of(__name__)

RECOVER_SECONDS = 5.0
"""Interval between searches for jobs whose process, or whose entry in the queue, is gone."""
SHUTDOWN_SECONDS = 10.0
"""How long the process of a job may take to clean up when the server shuts down."""
CANCEL_SECONDS = 60.0
"""How long the process of a job may take to clean up when the job is cancelled."""
STDIN = 0
PRELOADED = ["featurestore.server.jobs.process", *verbs.names_of_all()]
"""What the fork server imports, once for all jobs."""


class JobConsumer:
    """Runs queued jobs until `stop`.

    The process of each job is forked from a fork server that has imported the modules that jobs need, so that jobs start fast.
    """

    def __init__(self, root: Path, settings: str, workers: int, job_memory: int, spill: Path) -> None:
        self._root, self._settings, self._job_memory, self._spill = root, settings, job_memory, spill
        self._jobs = JobStore(root)
        self._queues = JobQueues(root, self.run_job)
        self._consumers = self._queues.consumers(workers)
        self._fork_server = multiprocessing.get_context("forkserver")
        self._fork_server.set_forkserver_preload(PRELOADED)
        self._processes: dict[str, ForkServerProcess] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run jobs until `stop` is called; jobs that still run then are queued again."""
        self._jobs.remove_expired()
        threading.Thread(target=self._keep_recovering, daemon=True).start()
        threads = [threading.Thread(target=consumer.run) for consumer in self._consumers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._requeue_running()

    def stop(self) -> None:
        """Make `run` return. May be called from any thread."""
        self._stopping.set()
        for consumer in self._consumers:
            consumer.stop()

    def run_job(self, id: str) -> None:
        """Run the job with this id in another process, and wait until it ends."""
        job = self._jobs.get(id)
        if job is None or job.state != "queued" or id in self._processes or self._stopping.is_set():
            return
        process = self._fork_server.Process(target=_run_in_process, args=(self._settings, self._root, id), daemon=True)
        self._processes[id] = process
        try:
            process.start()
            peak = self._wait(id, process)
            self._remove_spill(id)
            if not self._stopping.is_set():
                self._record_exit(id, process.exitcode or 0, peak)
        finally:
            self._processes.pop(id, None)

    def recover(self) -> None:
        """Queue again the jobs whose process is gone."""
        for candidate in self._jobs.all():
            if not candidate.live or candidate.id in self._processes:
                continue
            with self._jobs.lock():
                job = self._jobs.get(candidate.id)
                if job is not None and self._jobs.is_abandoned(job):
                    self._remove_spill(job.id)
                    job = self._jobs.requeue(job)
                    logger.warning("the process of job %s is gone; the job is now %s", job.id, job.state)
            if job is not None and job.state == "queued" and job.id not in self._queues.of(job.kind).waiting():
                self._queues.of(job.kind).put(job.id)

    def _keep_recovering(self) -> None:
        while not self._stopping.is_set():
            self.recover()
            self._stopping.wait(RECOVER_SECONDS)

    def _wait(self, id: str, process: ForkServerProcess) -> int:
        """Wait until the process ends, and end it if the job is cancelled. Returns the most bytes of data measured meanwhile."""
        peak = 0
        while process.exitcode is None:
            process.join(POLL_SECONDS)
            peak = max(peak, memory.data_bytes(process.pid))
            if process.exitcode is None and self._jobs.cancel_requested(id):
                _terminate(process, CANCEL_SECONDS)
        return peak

    def _record_exit(self, id: str, code: int, peak: int) -> None:
        """Record the end of a job whose process ended without recording it."""
        with self._jobs.lock():
            job = self._jobs.get(id)
            if job is None or not job.live or (job.state == "queued" and code == 0):
                return
            if job.state == "running" and not self._jobs.is_abandoned(job):
                return
            if self._jobs.cancel_requested(id):
                self._jobs.end(job, "cancelled")
                return
            logger.error("the process of job %s ended with %s", id, _describe_exit(code))
            self._jobs.end(job, "failed", error=self._exit_error(id, code, peak))

    def _exit_error(self, id: str, code: int, peak: int) -> dict[str, Any]:
        """The error of a job whose process recorded none. A signal often means that a library crashed for lack of memory."""
        if -code == signal.SIGKILL:
            body = document_of(memory.kill_error(peak))
        elif code < 0:
            body = document_of(memory.crash_error(_describe_exit(code), self._job_memory, peak))
        else:
            body = document("InternalError", f"the process of the job ended; the server's log says more under {id}")
        error: dict[str, Any] = body["error"]
        return error

    def _requeue_running(self) -> None:
        """End the jobs that still run and queue them for the next consumer; these runs do not count towards their limit."""
        for id, process in list(self._processes.items()):
            _terminate(process, SHUTDOWN_SECONDS)
            with self._jobs.lock():
                job = self._jobs.get(id)
                if job is not None and self._jobs.is_abandoned(job):
                    self._remove_spill(id)
                    self._jobs.requeue(job, count=False)

    def _remove_spill(self, id: str) -> None:
        """Delete the files that the queries of an ended job spilled."""
        shutil.rmtree(spill_path(self._spill, id), ignore_errors=True)


def main() -> None:
    """Run the consumer: read its parameters as a line of JSON from standard input, and stop when standard input is closed."""
    logs.begin()
    with open(STDIN, "rb", buffering=0, closefd=False) as stdin:
        parameters = json.loads(stdin.readline())
    consumer = JobConsumer(
        Path(parameters["root"]), parameters["settings"], parameters["workers"], parameters["job_memory"], Path(parameters["spill"])
    )

    def stop_at_end_of_input() -> None:
        # os.read rather than a file object: a thread that waits in a file object keeps the interpreter from exiting.
        while os.read(STDIN, 1):
            pass
        consumer.stop()

    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    with private.owner_only_umask():
        consumer.run()
    logging.shutdown()
    # A normal exit would wait for processes that are still starting. They end by themselves once this process is gone.
    os._exit(0)


def _run_in_process(settings: str, root: Path, id: str) -> None:
    # Imported here, so that only the fork server imports what jobs need, and the consumer does not.
    from featurestore.server.jobs.process import run_job  # noqa: PLC0415

    run_job(settings, root, id)


def _terminate(process: ForkServerProcess, seconds: float) -> None:
    """Terminate a process, and kill it if it still runs after so many seconds."""
    if process.pid is None:
        return
    process.terminate()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()


def _describe_exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
