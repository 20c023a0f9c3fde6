"""A job that is stopped while it runs a library that replaces the exit by its own error, or loses it."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featurestore import Settings
from featurestore.pipelines.training_sets.progress import FINISH
from featurestore.server.jobs import memory
from featurestore.server.jobs.handlers import HANDLERS
from featurestore.server.jobs.job_store import JobStore
from featurestore.server.jobs.process import JobRun


def waiting_job(folder: Path) -> tuple[JobStore, JobRun]:
    """A store of jobs with the job "one", and the run that is to take it."""
    jobs = JobStore(folder / "jobs")
    jobs.add("one", "stopped", {}, lambda files: None)
    return jobs, JobRun(jobs, Settings(home=folder / "home"))


def assert_stopped(jobs: JobStore, run: JobRun, handler: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the job with this handler: the process exits, and the job's end is left to its consumer."""
    monkeypatch.setitem(HANDLERS, "stopped", handler)
    monkeypatch.setattr(memory, "limit_subprocess", lambda max_bytes: None)
    with pytest.raises(SystemExit) as caught:
        run.run("one")
    assert caught.value.code == signal.SIGTERM
    job = jobs.get("one")
    assert job is not None
    assert (job.state, job.error) == ("running", None)


def test_a_stopped_job_is_not_recorded_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, run = waiting_job(tmp_path)

    def stopped(*arguments: Any) -> None:
        try:
            run.stop(signal.SIGTERM, None)
        except SystemExit as error:
            raise ImportError("initialization failed") from error

    assert_stopped(jobs, run, stopped, monkeypatch)


def test_an_exit_that_is_lost_in_a_callback_is_raised_at_the_next_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, run = waiting_job(tmp_path)

    def stopped(store: object, folder: Path, request: object, report: Callable[[dict[str, Any]], None]) -> None:
        report({"stage": "join"})
        with contextlib.suppress(SystemExit):
            run.stop(signal.SIGTERM, None)
        report({"stage": FINISH})
        pytest.fail("it was to be stopped before its commit")

    assert_stopped(jobs, run, stopped, monkeypatch)
