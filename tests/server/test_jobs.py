"""Jobs: one after the other, each once, their state readable from any process and honest about dead ones."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore.errors import NotFound, NotReady
from featurestore.server import jobs as module
from featurestore.server.jobs import Job, Jobs, Report

DIES = """
import os, pathlib, sys, threading
from featurestore.server.jobs import Jobs
begun = threading.Event()
def work(report):
    report({"rows": 5})
    begun.set()
    threading.Event().wait()
Jobs(pathlib.Path(sys.argv[1])).start("a-1", "test", work)
begun.wait()
print("begun", flush=True)
sys.stdin.read()
os._exit(9)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    opened = Jobs(tmp_path / "jobs")
    yield opened
    opened.close()


def ended(jobs: Jobs, id: str) -> Job:
    """The job when it is over."""
    done = threading.Event()
    jobs.start(f"after-{id}", "test", lambda report: done.set())
    assert done.wait(10)
    found = jobs.get(id)
    assert found is not None
    return found


def test_a_job_runs_and_tells(jobs: Jobs, tmp_path: Path) -> None:
    go, begun = threading.Event(), threading.Event()

    def work(report: Report) -> list[int]:
        report({"rows": 1})
        begun.set()
        go.wait(10)
        return [1, 2]

    assert jobs.start("a-1", "test", work).state == "queued"
    begun.wait(10)
    running = Jobs(tmp_path / "jobs").get("a-1")
    assert running is not None
    assert (running.state, running.progress) == ("running", {"rows": 1})
    go.set()
    done = ended(jobs, "a-1")
    assert (done.state, done.result, done.error) == ("done", [1, 2], None)


def test_the_same_id_is_not_run_twice_at_once(jobs: Jobs) -> None:
    go, runs = threading.Event(), []

    def work(report: Report) -> None:
        runs.append(1)
        go.wait(10)

    jobs.start("a-1", "test", work)
    assert jobs.start("a-1", "test", work).live
    go.set()
    ended(jobs, "a-1")
    assert len(runs) == 1
    jobs.start("a-1", "test", work)
    ended(jobs, "a-1")
    assert len(runs) == 2


def test_failures_are_kept_and_the_next_job_runs(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(report: Report) -> None:
        raise NotFound("view", "x", ["y"])

    def break_down(report: Report) -> None:
        raise ZeroDivisionError("a secret of ours")

    jobs.start("a-1", "test", refuse)
    jobs.start("a-2", "test", break_down)
    refused, broken = ended(jobs, "a-1"), ended(jobs, "a-2")
    assert refused.error is not None
    assert broken.error is not None
    assert (refused.state, refused.error["type"]) == ("failed", "NotFound")
    assert broken.error["type"] == "InternalError"
    assert "secret" not in str(broken.error)
    assert "a secret of ours" in caplog.text


def test_too_many_are_refused(jobs: Jobs) -> None:
    go = threading.Event()
    for number in range(module.WAITING + 1):
        jobs.start(f"a-{number}", "test", lambda report: go.wait(10))
        if number == 0:
            while (first := jobs.get("a-0")) is not None and first.state == "queued":
                threading.Event().wait(0.01)
    with pytest.raises(NotReady, match="jobs are waiting"):
        jobs.start("one-more", "test", lambda report: None)
    assert jobs.get("one-more") is None
    go.set()


def test_a_job_of_a_dead_process_has_failed(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    with subprocess.Popen(
        [sys.executable, "-c", DIES, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        here = Jobs(folder)
        seen = here.get("a-1")
        assert seen is not None
        assert (seen.state, seen.progress) == ("running", {"rows": 5})
        assert here.start("a-1", "test", lambda report: None).worker == seen.worker, "it runs there, so not here as well"
        other.kill()
    dead = here.get("a-1")
    assert dead is not None
    assert dead.error is not None
    assert (dead.state, dead.error["type"]) == ("failed", "NotReady")
    here.start("a-1", "test", lambda report: "done here")
    assert ended(here, "a-1").result == "done here"
    here.close()


def test_closing_waits_for_what_runs_and_drops_what_waits(tmp_path: Path) -> None:
    jobs, go, begun = Jobs(tmp_path), threading.Event(), threading.Event()

    def work(report: Report) -> str:
        begun.set()
        go.wait(10)
        return "whole"

    jobs.start("a-1", "test", work)
    jobs.start("a-2", "test", lambda report: "never")
    begun.wait(10)
    threading.Timer(0.1, go.set).start()
    jobs.close()
    done, dropped = Jobs(tmp_path).get("a-1"), Jobs(tmp_path).get("a-2")
    assert done is not None
    assert dropped is not None
    assert (done.state, done.result) == ("done", "whole")
    assert dropped.state == "failed"


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", "a.b", "x" * 201, "a\x00"])
def test_no_id_leads_out_of_the_folder(jobs: Jobs, id: str) -> None:
    assert jobs.get(id) is None


def environment() -> dict[str, str]:
    """This process' environment, with the project importable."""
    return {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
