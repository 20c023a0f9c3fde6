"""The audit log of jobs: an entry when one begins, before it does anything, and one when it ends."""

from collections.abc import Mapping
from typing import Any

from featurestore.audit_log.log import AuditLog
from featurestore.audit_log.named import find_names
from featurestore.server.jobs.job import Job
from featurestore.settings import Settings

SERVER = "server"
"""The principal of jobs that nobody asked for: a server fills its online store by itself."""
BEGIN, END = "begin", "end"


class JobRecords:
    """Records one job of whoever asked for it, if there is an audit log."""

    def __init__(self, settings: Settings, job: Job, key: str | None, request: Mapping[str, Any]) -> None:
        self._log, self._job, self._key = AuditLog(settings), job, key
        self._named = dict(find_names(request, settings.catalog_name))

    def begin(self) -> None:
        """Record that it begins. Raises: OutOfResources, NotReady; then it must not."""
        if self._log.enabled:
            self._log.check()
            if self._log.refusal is not None:
                raise self._log.refusal
            self._record(BEGIN, None)

    def end(self, error: str | None) -> None:
        """Record that it ended, with the type of its error. Raises: as `begin`."""
        if self._log.enabled:
            self._record(END, error)
            self._log.close()

    def _record(self, phase: str, error: str | None) -> None:
        job = self._job
        self._log.record(
            job.by or SERVER,
            f"job {job.kind}",
            key=self._key,
            objects=[f"jobs/{job.id}"],
            scope={"phase": phase, **self._named},
            error=error,
        )
        if self._log.waits_for_disk:
            self._log.sync()
