"""The consumer's process as a server keeps it: started with the server, begun anew when it dies, ended in whatever way the server ends."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from featurestore.masking import logger_of
from featurestore.settings import Settings

log = logger_of(__name__)

COMMAND = [sys.executable, "-P", "-c", "from featurestore.server.jobs.consumer import main; main()"]
# Arrow's allocator would take a gigabyte of address space in one piece, which counts as data that a job has.
ENVIRONMENT = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}

PATIENCE_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 60.0


class JobWorker:
    """Runs the jobs of a home folder, for as long as it is open: a context manager around a server."""

    def __init__(self, settings: Settings) -> None:
        wanted = {"settings": settings.to_json_with_secrets(), "workers": settings.job_workers, "cap": settings.job_memory()}
        self._line = json.dumps({"root": str(jobs_path(settings)), "spill": str(settings.spill_path()), **wanted}).encode()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="job worker", daemon=True)

    @property
    def pid(self) -> int | None:
        """The consumer's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the consumer. A job that it runs is begun anew by the next one."""
        with self._lock:
            self._closing.set()
            process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join()

    def _keep(self) -> None:
        pause = 1.0
        while not self._closing.is_set():
            code = self._run()
            if not self._closing.is_set():
                log.error("the process that runs jobs ended with status %s; it is started again in %.0f s", code, pause)
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _run(self) -> int | None:
        """One consumer, from beginning to end; its status, None if it was not begun."""
        with self._lock:
            if self._closing.is_set():
                return None
            # In a session of its own: Ctrl-C is the server's to answer.
            process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, start_new_session=True)
            self._process = process
        assert process.stdin is not None
        # A consumer that ended before it read this tells by its status.
        with suppress(BrokenPipeError):
            process.stdin.write(self._line + b"\n")
            process.stdin.flush()
        code = process.wait()
        process.stdin.close()
        return code

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def jobs_path(settings: Settings) -> Path:
    """Where the jobs of these settings lie."""
    return settings.home_path() / "jobs"
