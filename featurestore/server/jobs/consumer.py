"""The process that takes jobs from the queue and gives each a process of its own; a `JobWorker` runs it, and it ends with that one."""

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

from featurestore import private
from featurestore.masking import logger_of
from featurestore.server import logs
from featurestore.server.error_body import document, document_of
from featurestore.server.jobs import memory
from featurestore.server.jobs.job_queue import LOOK_SECONDS, JobQueue
from featurestore.server.jobs.job_store import JobFolder, spill_of

log = logger_of(__name__)

RECOVER_SECONDS = 5.0
"""How often jobs are looked for whose process, or whose place in the queue, is gone."""
UNWIND_SECONDS = 10.0
"""How long the process of a job may take to clean up when the server ends."""
CANCEL_SECONDS = 60.0
"""The same when it is cancelled."""
STDIN = 0


class JobConsumer:
    """Runs jobs until told to stop, each in a process forked from one that has imported all that jobs need and does nothing else."""

    def __init__(self, root: Path, settings: str, workers: int, cap: int, spill: Path) -> None:
        self._root, self._settings, self._cap, self._spill = root, settings, cap, spill
        self._folder = JobFolder(root)
        self._queue = JobQueue(root, self.job)
        self._taker = self._queue.taker(workers)
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["featurestore.server.jobs.process"])
        self._mine: dict[str, ForkServerProcess] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until `stop`; jobs that still run then are queued again."""
        self._folder.tidy()
        threading.Thread(target=self._recover_ever, daemon=True).start()
        self._taker.run()
        self._unwind()

    def stop(self) -> None:
        """Let `run` return. May be called from any thread."""
        self._stopping.set()
        self._taker.stop()

    def job(self, id: str) -> None:
        """Run the job of this id to its end, in another process."""
        job = self._folder.get(id)
        if job is None or job.state != "queued" or id in self._mine or self._stopping.is_set():
            return
        process = self._forks.Process(target=_in_its_process, args=(self._settings, self._root, id), daemon=True)
        self._mine[id] = process
        try:
            process.start()
            most = self._wait(id, process)
            self._despill(id)
            if not self._stopping.is_set():
                self._settle(id, process.exitcode or 0, most)
        finally:
            self._mine.pop(id, None)

    def recover(self) -> None:
        """Queue again what a process that is gone has left."""
        for seen in self._folder.all():
            if not seen.live or seen.id in self._mine:
                continue
            with self._folder.changing():
                job = self._folder.get(seen.id)
                if job is not None and self._folder.abandoned(job):
                    self._despill(job.id)
                    job = self._folder.again(job)
                    log.warning("the process of job %s was gone: it is %s", job.id, job.state)
            if job is not None and job.state == "queued" and job.id not in self._queue.waiting():
                self._queue.put(job.id)

    def _recover_ever(self) -> None:
        while not self._stopping.is_set():
            self.recover()
            self._stopping.wait(RECOVER_SECONDS)

    def _wait(self, id: str, process: ForkServerProcess) -> int:
        """For the end of the process, which a cancellation brings on; the most bytes of data that it was seen to have."""
        most = 0
        while process.exitcode is None:
            process.join(LOOK_SECONDS)
            most = max(most, memory.data(process.pid))
            if process.exitcode is None and self._folder.to_cancel(id):
                _end(process, CANCEL_SECONDS)
        return most

    def _settle(self, id: str, code: int, most: int) -> None:
        """Record the end of a job whose process could not do so itself."""
        with self._folder.changing():
            job = self._folder.get(id)
            if job is None or not job.live or (job.state == "queued" and code == 0):
                return
            if job.state == "running" and not self._folder.abandoned(job):
                return
            if self._folder.to_cancel(id):
                self._folder.end(job, "cancelled")
                return
            log.error("the process of job %s ended with %s", id, _spelled(code))
            self._folder.end(job, "failed", error=self._death(id, code, most))

    def _death(self, id: str, code: int, most: int) -> dict[str, Any]:
        """The error of a job whose process ended with no word of its own. A library may break down where it gets no memory."""
        if -code == signal.SIGKILL:
            found = document_of(memory.killed(most))
        elif code < 0:
            found = document_of(memory.broken(_spelled(code), self._cap, most))
        else:
            found = document("InternalError", f"the process of the job ended; the server's log says more under {id}")
        error: dict[str, Any] = found["error"]
        return error

    def _unwind(self) -> None:
        """End what still runs; it is begun anew by the next consumer, and this run of it does not count."""
        for id, process in list(self._mine.items()):
            _end(process, UNWIND_SECONDS)
            with self._folder.changing():
                job = self._folder.get(id)
                if job is not None and self._folder.abandoned(job):
                    self._despill(id)
                    self._folder.again(job, count=False)

    def _despill(self, id: str) -> None:
        """Delete what the queries of a job that is over have spilled."""
        shutil.rmtree(spill_of(self._spill, id), ignore_errors=True)


def main() -> None:
    """Be the process: what to do comes as a line of JSON on standard input, and the end with the end of that."""
    logs.begin()
    with open(STDIN, "rb", buffering=0, closefd=False) as told:
        wanted = json.loads(told.readline())
    consumer = JobConsumer(Path(wanted["root"]), wanted["settings"], wanted["workers"], wanted["cap"], Path(wanted["spill"]))

    def stop_at_the_end() -> None:
        # Not by a file object: a thread that waits in one keeps the interpreter from ending.
        while os.read(STDIN, 1):
            pass
        consumer.stop()

    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    threading.Thread(target=stop_at_the_end, daemon=True).start()
    with private.owner_only_umask():
        consumer.run()
    logging.shutdown()
    # At once: a process that is only being started would be waited for. It sees that this one is gone.
    os._exit(0)


def _in_its_process(settings: str, root: Path, id: str) -> None:
    # Here and not above: what a job needs is imported once, by the process that its process is forked from, and not by this one.
    from featurestore.server.jobs.process import main as run  # noqa: PLC0415

    run(settings, root, id)


def _end(process: ForkServerProcess, patience: float) -> None:
    """Let it clean up, for so many seconds."""
    if process.pid is None:
        return
    process.terminate()
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()


def _spelled(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
