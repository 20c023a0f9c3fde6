"""Jobs are work that outlives a request: one at a time, in order; a file each, so that every server process can tell their state."""

import fcntl
import logging
import os
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from featurestore.errors import FeatureStoreError, NotReady
from featurestore.pipelines import encoding
from featurestore.server import errors

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed"]
Report = Callable[[dict[str, Any]], None]
Work = Callable[[Report], Any]
"""Does the job: is given where to report progress, and returns its JSON-ready result."""

WAITING = 16
KEEP = timedelta(days=7)
REPORT_SECONDS = 0.1
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True)
class Job:
    """One job as recorded. `error` has `type`, `message` and `details`; `worker` is the server process that runs it."""

    id: str
    kind: str
    state: State
    created_at: str
    worker: str
    progress: dict[str, Any] | None = None
    result: Any = None
    error: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in ("queued", "running")


class Jobs:
    """A queue with one thread. `folder` may be shared by all server processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker = uuid.uuid4().hex
        self._queue: queue.Queue[tuple[Job, Work] | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._alive: IO[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self, id: str, kind: str, work: Work) -> Job:
        """Queue the work, or return the job of this id that is queued or running already, here or in another process.

        Raises: NotReady when too many jobs wait.
        """
        with self._lock:
            held = self.get(id)
            if held is not None and held.live:
                return held
            self._begin()
            job = Job(id, kind, "queued", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), self._worker)
            self._write(job)
            try:
                self._queue.put_nowait((job, work))
            except queue.Full:
                self._path(id).unlink()
                raise NotReady(f"{WAITING} jobs are waiting already; ask again when some are done") from None
            return job

    def get(self, id: str) -> Job | None:
        """The job as it stands; None when there is no record of it. One whose process has died has failed."""
        if not _ID.fullmatch(id):
            return None
        try:
            job = Job(**orjson.loads(self._path(id).read_bytes()))
        except FileNotFoundError:
            return None
        if job.live and not self._lives(job.worker):
            return replace(job, state="failed", error=_error(NotReady("the server ended before this job did; ask for it again")))
        return job

    def close(self, patience: float = 30.0) -> None:
        """Take no more jobs; wait at most `patience` seconds for the running one. What waits, or still runs then, counts as failed."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            with self._queue.mutex:
                self._queue.queue.clear()
            self._queue.put(None)
        thread.join(patience)
        if self._alive is not None:
            self._alive.close()

    def _begin(self) -> None:
        """The thread and the lock that shows that this process lives; made with the first job."""
        if self._thread is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        unlocked = self._folder / f"{self._worker}.part"
        self._alive = unlocked.open("wb")
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        unlocked.rename(self._folder / f"{self._worker}.lock")
        # A daemon: a job that takes an hour must not keep a server from ending. Its commits are all or nothing.
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            job, work = item
            running = replace(job, state="running")
            self._write(running)
            try:
                done = replace(running, state="done", result=work(_reporter(running, self._write)))
            except FeatureStoreError as error:
                log.warning("job %s failed: %s", job.id, error, exc_info=error.__cause__)
                done = replace(running, state="failed", error=_error(error))
            except Exception:  # whatever happens to one job, the next one must run
                log.exception("job %s failed", job.id)
                unexpected = errors.document("InternalError", f"the server failed at this job; its log says more under {job.id}")
                done = replace(running, state="failed", error=unexpected["error"])
            self._write(done)

    def _write(self, job: Job) -> None:
        """Replace the record as a whole: a reader never sees half of one."""
        temporary = self._path(job.id).with_suffix(f".{uuid.uuid4().hex}.part")
        temporary.write_bytes(encoding.dumps(asdict(job)))
        os.replace(temporary, self._path(job.id))

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.json"

    def _lives(self, worker: str) -> bool:
        """Whether the process still holds its lock, which the system takes away when it ends in whatever way."""
        if worker == self._worker:
            return True
        try:
            with (self._folder / f"{worker}.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def _tidy(self) -> None:
        """Forget old records, and the locks of processes that have ended."""
        before = time.time() - KEEP.total_seconds()
        for path in self._folder.iterdir():
            ended = path.suffix == ".lock" and not self._lives(path.stem)
            if ended or (path.suffix != ".lock" and path.stat().st_mtime < before):
                path.unlink(missing_ok=True)


def _reporter(job: Job, write: Callable[[Job], None]) -> Report:
    """Records progress, but not more often than anyone looks."""
    last = 0.0

    def report(progress: dict[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            write(replace(job, progress=progress))

    return report


def _error(error: FeatureStoreError) -> dict[str, Any]:
    found: dict[str, Any] = errors.document_of(error)["error"]
    return found
