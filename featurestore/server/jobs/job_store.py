"""Jobs on disk: a folder for each, with its record, its request, its spooled rows, and the lock file of the process that runs it."""

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
from featurestore.access.claim import Claim
from featurestore.errors import NotReady
from featurestore.server.jobs.job import Job, State
from featurestore.values import json_encoding

KEEP = timedelta(days=7)
"""How long the record of a job is kept after its end."""
RUNS = 5
"""Most starts of a job, so that a job that crashes its server is not restarted forever."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_RECORD, _REQUEST, _CLAIM, _LOCK, _CANCEL = "job.json", "request.json", "claim.json", "lock", "cancel"
_KEPT_FILES = (_RECORD, _LOCK)
_PARTIAL = ".part"

Fill = Callable[[Path], None]
"""Writes input files of a job into a folder."""


class JobStore:
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
        """All jobs, oldest first."""
        jobs = [job for entry in self._entries() if (job := self.get(entry.name)) is not None]
        return sorted(jobs, key=lambda job: job.created_at)

    def add(self, id: str, kind: str, request: dict[str, Any], fill: Fill, claim: Claim | None = None) -> tuple[Job, bool]:
        """Record a queued job of somebody, with the files that `fill` writes, and return it with True.

        If a job with this id is queued or running already, return that job with False.
        """
        by = None if claim is None else claim.principal.name
        job = Job(id, kind, "queued", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), by=by)
        folder = self.root / f"{id}.{uuid.uuid4().hex}{_PARTIAL}"
        private.make_folder(folder)
        try:
            private.write(folder / _REQUEST, json_encoding.dumps(request))
            if claim is not None:
                private.write(folder / _CLAIM, json_encoding.dumps(claim.to_dict()))
            private.write(folder / _RECORD, json_encoding.dumps(asdict(job)))
            fill(folder)
            with self.lock():
                existing = self.get(id)
                if existing is not None and existing.live:
                    return existing, False
                # The previous job with this id has ended. Its process may still be exiting.
                shutil.rmtree(self.path(id), ignore_errors=True)
                folder.rename(self.path(id))
            return job, True
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self, id: str) -> Job | None:
        """Mark a queued job as running and return it; None if it is not queued any more. The caller must hold the job's lock."""
        with self.lock():
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
            if path.name not in _KEPT_FILES:
                path.unlink(missing_ok=True)

    def requeue(self, job: Job, count: bool = True) -> Job:
        """Queue again a job whose process is gone; end it instead if it was to be cancelled or was started `RUNS` times.

        With `count` False, the lost run does not count. Call this within `lock`.
        """
        if self.cancel_requested(job.id):
            self.end(job, "cancelled")
        elif count and job.runs >= RUNS:
            lost = NotReady(f"the server ended {job.runs} times while the job ran; send the request again to restart it")
            self.end(job, "failed", error={"type": type(lost).__name__, "message": lost.message, "details": {}})
        else:
            self.write(replace(job, state="queued", progress=None, runs=job.runs - (not count)))
        return self.get(job.id) or job

    def cancel(self, id: str) -> Job | None:
        """Cancel a queued job, or request the cancellation of a running one. Returns the updated job; None if there is no record of it."""
        with self.lock():
            job = self.get(id)
            if job is not None and job.state == "queued":
                self.end(job, "cancelled")
            elif job is not None and job.live:
                (self.path(id) / _CANCEL).touch()
            return self.get(id)

    def cancel_requested(self, id: str) -> bool:
        """Whether the cancellation of a running job was requested."""
        return (self.path(id) / _CANCEL).exists()

    def write(self, job: Job) -> None:
        """Replace the record of a job atomically."""
        temporary = self.path(job.id) / f"{_RECORD}.{uuid.uuid4().hex}{_PARTIAL}"
        private.write(temporary, json_encoding.dumps(asdict(job)))
        os.replace(temporary, self.path(job.id) / _RECORD)

    def request(self, id: str) -> dict[str, Any]:
        """The request of a job."""
        request: dict[str, Any] = orjson.loads((self.path(id) / _REQUEST).read_bytes())
        return request

    def claim(self, id: str) -> Claim | None:
        """Who asked for a job; None: the server itself, or an earlier release that had administrators only."""
        try:
            return Claim.from_dict(orjson.loads((self.path(id) / _CLAIM).read_bytes()))
        except FileNotFoundError:
            return None

    def path(self, id: str) -> Path:
        """The folder of a job."""
        return self.root / id

    @contextmanager
    def running(self, id: str) -> Iterator[bool]:
        """Hold the job's lock for the block; yields False if another process holds it.

        The system releases the lock however the process ends. The file contains the id of the last process that held it.
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

    def is_abandoned(self, job: Job) -> bool:
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
    def lock(self) -> Iterator[None]:
        """Hold the lock of all jobs for the block. Only its holder may change the state of a job."""
        private.make_folder(self.root)
        private.make_file(self.root / _LOCK)
        with (self.root / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove_expired(self) -> None:
        """Delete the folders of jobs that ended longer than `KEEP` ago, and of jobs that were never written completely."""
        before = time.time() - KEEP.total_seconds()
        with self.lock():
            for entry in self._entries():
                job = self.get(entry.name)
                if entry.stat().st_mtime < before and (job is None or not job.live):
                    shutil.rmtree(entry)

    def _entries(self) -> list[Path]:
        return [entry for entry in self.root.iterdir() if entry.is_dir()] if self.root.is_dir() else []


def spill_path(spill: Path, id: str) -> Path:
    """The folder to which the queries of a job spill, within the spill folder of the settings."""
    return spill / f"job-{id}"
