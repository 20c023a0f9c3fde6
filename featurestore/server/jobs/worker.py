"""Runs the job consumer as a subprocess of the server, and restarts it when it dies."""

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

logger = logger_of(__name__)

COMMAND = [sys.executable, "-P", "-c", "from featurestore.server.jobs.consumer import main; main()"]
# Arrow's allocator would reserve a gigabyte of address space at once, which counts as data memory of the job.
ENVIRONMENT = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}

STOP_SECONDS = 20.0
"""How long the consumer may take to end before it is killed."""
MAX_PAUSE_SECONDS = 60.0
"""Longest pause before a consumer that died is restarted."""


class JobWorker:
    """Context manager that runs the jobs of a home folder, from a server's start to its end.

    The consumer stops when its standard input, a pipe from this process, is closed: so it ends even when the server is killed.
    """

    def __init__(self, settings: Settings) -> None:
        parameters = {"settings": settings.to_json_with_secrets(), "workers": settings.job_workers, "job_memory": settings.job_memory()}
        self._line = json.dumps({"root": str(jobs_path(settings)), "spill": str(settings.spill_path()), **parameters}).encode()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_running, name="job worker", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process id of the consumer; None before it has started."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the consumer. The next one restarts the jobs that were running."""
        with self._lock:
            self._closing.set()
            process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join()

    def _keep_running(self) -> None:
        pause = 1.0
        while not self._closing.is_set():
            code = self._run()
            if not self._closing.is_set():
                logger.error("the process that runs jobs ended with status %s; it will be restarted in %.0f s", code, pause)
                self._closing.wait(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _run(self) -> int | None:
        """Run one consumer until it ends, and return its exit status; None if the server is closing and none was started."""
        with self._lock:
            if self._closing.is_set():
                return None
            # In its own session, so that Ctrl-C reaches the server only, which then ends the consumer.
            process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, start_new_session=True)
            self._process = process
        assert process.stdin is not None
        # If the consumer ended before it read this, its exit status says so.
        with suppress(BrokenPipeError):
            process.stdin.write(self._line + b"\n")
            process.stdin.flush()
        code = process.wait()
        process.stdin.close()
        return code

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def jobs_path(settings: Settings) -> Path:
    """The folder of the jobs of these settings."""
    return settings.home_path() / "jobs"
