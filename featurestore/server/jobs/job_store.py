"""Jobs on disk: a folder for each, with its record, its request, its spooled rows, and the lock of the process that runs it."""

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from featurestore import private
from featurestore.errors import NotReady
from featurestore.server.jobs.job import Job, State
from featurestore.values import json_encoding

KEEP = timedelta(days=7)
"""How long the record of an ended job is kept."""
RUNS = 5
"""How often a job is started: a job that brings its server down must not be restarted forever."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_RECORD, _REQUEST, _LOCK, _CANCEL = "job.json", "request.json", "lock", "cancel"
_STAYS = (_RECORD, _LOCK)
_UNFINISHED = ".part"

Fill = Callable[[Path], None]
"""Writes input files of a job into a folder."""


class JobFolder:
    """All jobs of one home folder, shared by all processes on the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, id: str) -> Job | None:
        """The job; None if there is no record of it."""
        if not _ID.fullmatch(id):
            return None
        try:
            return Job(**orjson.loads((self.path(id) / _RECORD).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def all(self) -> list[Job]:
        """All jobs, the oldest first."""
        found = [job for entry in self._entries() if (job := self.get(entry.name)) is not None]
        return sorted(found, key=lambda job: job.created_at)

    def add(self, id: str, kind: str, request: dict[str, Any], fill: Fill) -> tuple[Job, bool]:
        """Record a queued job with the files of `fill`, and return it and True; or an existing live job with this id, and False."""
        job = Job(id, kind, "queued", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        made = self.root / f"{id}.{uuid.uuid4().hex}{_UNFINISHED}"
        private.make_folder(made)
        try:
            private.write(made / _REQUEST, json_encoding.dumps(request))
            private.write(made / _RECORD, json_encoding.dumps(asdict(job)))
            fill(made)
            with self.changing():
                held = self.get(id)
                if held is not None and held.live:
                    return held, False
                # The process of the previous job with this id has recorded its end, though it may still be running.
                shutil.rmtree(self.path(id), ignore_errors=True)
                made.rename(self.path(id))
            return job, True
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def begin(self, id: str) -> Job | None:
        """Mark a queued job as running and return it; None if it is no longer queued. The caller must hold its lock."""
        with self.changing():
            job = self.get(id)
            if job is None or job.state != "queued":
                return None
            running = replace(job, state="running", runs=job.runs + 1)
            self.write(running)
            return running

    def end(self, job: Job, state: State, result: Any = None, error: dict[str, Any] | None = None) -> None:
        """Record how a job ended, and delete its input files."""
        self.write(replace(job, state=state, result=result, error=error))
        for path in self.path(job.id).iterdir():
            if path.name not in _STAYS:
                path.unlink(missing_ok=True)

    def again(self, job: Job, count: bool = True) -> Job:
        """Queue a job again whose process is gone; or end it, if it was to be cancelled or was started too often.

        With `count` False, the lost run does not count. To be called within `changing`.
        """
        if self.to_cancel(job.id):
            self.end(job, "cancelled")
        elif count and job.runs >= RUNS:
            gone = NotReady(f"the server ended {job.runs} times while the job ran; send the request again to start it anew")
            self.end(job, "failed", error={"type": type(gone).__name__, "message": gone.message, "details": {}})
        else:
            self.write(replace(job, state="queued", progress=None, runs=job.runs - (not count)))
        return self.get(job.id) or job

    def cancel(self, id: str) -> Job | None:
        """Cancel a queued job, or request the end of a running one. Returns the job then; None if there is no record of it."""
        with self.changing():
            job = self.get(id)
            if job is not None and job.state == "queued":
                self.end(job, "cancelled")
            elif job is not None and job.live:
                (self.path(id) / _CANCEL).touch()
            return self.get(id)

    def to_cancel(self, id: str) -> bool:
        """Whether the end of a running job was requested."""
        return (self.path(id) / _CANCEL).exists()

    def write(self, job: Job) -> None:
        """Replace the record atomically."""
        temporary = self.path(job.id) / f"{_RECORD}.{uuid.uuid4().hex}{_UNFINISHED}"
        private.write(temporary, json_encoding.dumps(asdict(job)))
        os.replace(temporary, self.path(job.id) / _RECORD)

    def request(self, id: str) -> dict[str, Any]:
        """The request of a job."""
        found: dict[str, Any] = orjson.loads((self.path(id) / _REQUEST).read_bytes())
        return found

    def path(self, id: str) -> Path:
        """The folder of a job."""
        return self.root / id

    @contextmanager
    def running(self, id: str) -> Iterator[bool]:
        """Hold the job's lock for the block, which the system releases however the process ends; False if another process holds it.

        The file contains the id of the process that held it last.
        """
        with (self.path(id) / _LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield True

    def abandoned(self, job: Job) -> bool:
        """Whether a job is recorded as running, but no process runs it."""
        if job.state != "running":
            return False
        with (self.path(job.id) / _LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change states within this block only: one process at a time."""
        private.make_folder(self.root)
        private.make_file(self.root / _LOCK)
        with (self.root / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def tidy(self) -> None:
        """Delete the folders of jobs that ended long ago, and of jobs that were never completely written."""
        before = time.time() - KEEP.total_seconds()
        with self.changing():
            for entry in self._entries():
                job = self.get(entry.name)
                if entry.stat().st_mtime < before and (job is None or not job.live):
                    shutil.rmtree(entry)

    def _entries(self) -> list[Path]:
        return [entry for entry in self.root.iterdir() if entry.is_dir()] if self.root.is_dir() else []


def spill_of(spill: Path, id: str) -> Path:
    """The folder to which the queries of a job spill, in the common spill folder."""
    return spill / f"job-{id}"
