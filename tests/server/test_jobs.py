"""The records of jobs, without processes: one live job per id, valid state changes, and cleanup."""

import os
import time
from pathlib import Path

import pytest

from featurestore.errors import NotReady
from featurestore.server.jobs import job_store as module
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_store import JobFolder
from featurestore.server.jobs.jobs import WAITING, Jobs


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def queued(folder: JobFolder, id: str = "a-1") -> Job:
    """A job that waits, with rows of its own."""
    job, _ = folder.add(id, "test", {"x": 1}, lambda path: (path / "rows").touch())
    return job


def files(folder: JobFolder, id: str = "a-1") -> set[str]:
    return {path.name for path in folder.path(id).iterdir()}


def test_a_job_from_its_beginning_to_its_end(folder: JobFolder) -> None:
    assert queued(folder).state == "queued"
    assert files(folder) == {"job.json", "request.json", "rows"}
    assert folder.request("a-1") == {"x": 1}
    with folder.running("a-1") as free:
        assert free
        begun = folder.begin("a-1")
        assert begun is not None
        assert (begun.state, begun.runs) == ("running", 1)
        assert not folder.abandoned(begun)
        assert folder.begin("a-1") is None, "it is begun once"
        folder.end(begun, "done", [1, 2])
    done = folder.get("a-1")
    assert done is not None
    assert (done.state, done.result, done.live) == ("done", [1, 2], False)
    assert files(folder) == {"job.json", "lock"}


def test_one_live_job_an_id(folder: JobFolder) -> None:
    job = queued(folder)
    assert folder.add("a-1", "test", {"x": 2}, lambda path: None) == (job, False)
    assert folder.request("a-1") == {"x": 1}
    folder.cancel("a-1")
    again, new = folder.add("a-1", "test", {"x": 2}, lambda path: None)
    assert (new, again.state, folder.request("a-1")) == (True, "queued", {"x": 2})


def test_what_cannot_be_spooled_leaves_nothing(folder: JobFolder) -> None:
    def full(path: Path) -> None:
        (path / "rows").touch()
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        folder.add("a-1", "test", {}, full)
    assert folder.all() == []
    assert list(folder.root.iterdir()) == []


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(folder: JobFolder) -> None:
    queued(folder)
    cancelled = folder.cancel("a-1")
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    assert files(folder) == {"job.json"}
    assert folder.begin("a-1") is None
    queued(folder, "a-2")
    folder.begin("a-2")
    asked = folder.cancel("a-2")
    assert asked is not None
    assert asked.state == "running"
    assert folder.to_cancel("a-2")
    with folder.changing():
        assert folder.again(asked).state == "cancelled", "its process is gone: that was all it waited for"
    assert folder.cancel("nothing") is None


def test_a_job_whose_process_is_gone_is_queued_again_but_not_for_ever(folder: JobFolder) -> None:
    queued(folder)
    for runs in range(1, module.RUNS + 1):
        job = folder.begin("a-1")
        assert job is not None
        assert job.runs == runs
        assert folder.abandoned(job)
        with folder.changing():
            folder.again(job)
    given_up = folder.get("a-1")
    assert given_up is not None
    assert (given_up.state, given_up.error and given_up.error["type"]) == ("failed", "NotReady")


def test_a_run_that_was_ended_in_order_does_not_count(folder: JobFolder) -> None:
    queued(folder)
    job = folder.begin("a-1")
    assert job is not None
    with folder.changing():
        assert folder.again(job, count=False).runs == 0


def test_too_many_are_refused(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    for number in range(WAITING):
        jobs.start(f"a-{number}", "test", {})
    assert jobs.start("a-0", "test", {}).state == "queued", "one that waits already is no further one"
    with pytest.raises(NotReady, match="jobs are waiting"):
        jobs.start("one-more", "test", {})
    assert jobs.get("one-more") is None
    jobs.close()


def test_old_ones_are_forgotten(folder: JobFolder) -> None:
    for id in ("old", "young", "waits"):
        queued(folder, id)
    for id in ("old", "young"):
        folder.cancel(id)
    (folder.root / "never.part").mkdir()
    long_ago = time.time() - 1 - module.KEEP.total_seconds()
    for id in ("old", "waits", "never.part"):
        os.utime(folder.root / id, (long_ago, long_ago))
    folder.tidy()
    assert {path.name for path in folder.root.iterdir() if path.is_dir()} == {"young", "waits"}


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", "a.b", "x" * 201, "a\x00"])
def test_no_id_leads_out_of_the_folder(folder: JobFolder, id: str) -> None:
    assert folder.get(id) is None
    assert folder.cancel(id) is None
