"""A job that is stopped while it runs a library that replaces the exit by its own error."""

import signal
from pathlib import Path
from typing import Any

import pytest

from featurestore import Settings
from featurestore.server.jobs import memory
from featurestore.server.jobs.handlers import HANDLERS
from featurestore.server.jobs.job_store import JobStore
from featurestore.server.jobs.process import JobRun


def test_a_stopped_job_is_not_recorded_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobStore(tmp_path / "jobs")
    jobs.add("one", "stopped", {}, lambda folder: None)
    run = JobRun(jobs, Settings(home=tmp_path / "home"))

    def stopped(*arguments: Any) -> None:
        try:
            run.stop(signal.SIGTERM, None)
        except SystemExit as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setitem(HANDLERS, "stopped", stopped)
    monkeypatch.setattr(memory, "limit_subprocess", lambda max_bytes: None)
    with pytest.raises(SystemExit) as caught:
        run.run("one")
    assert caught.value.code == signal.SIGTERM
    job = jobs.get("one")
    assert job is not None
    assert (job.state, job.error) == ("running", None)
