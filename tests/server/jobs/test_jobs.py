"""The records of jobs, without processes: one live job per id, valid state changes, and cleanup."""

import os
import time
from pathlib import Path

import pytest

from featurestore.errors import NotReady
from featurestore.server.jobs import job_store as module
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_store import JobStore
from featurestore.server.jobs.jobs import WAITING, Jobs


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path)


def queue_job(store: JobStore, id: str = "a-1") -> Job:
    """A queued job with its own rows."""
    job, _ = store.add(id, "test", {"x": 1}, lambda path: (path / "rows").touch())
    return job


def files(store: JobStore, id: str = "a-1") -> set[str]:
    return {path.name for path in store.path(id).iterdir()}


def test_a_job_from_its_beginning_to_its_end(store: JobStore) -> None:
    assert queue_job(store).state == "queued"
    assert files(store) == {"job.json", "request.json", "rows"}
    assert store.request("a-1") == {"x": 1}
    with store.running("a-1") as free:
        assert free
        begun = store.begin("a-1")
        assert begun is not None
        assert (begun.state, begun.runs) == ("running", 1)
        assert not store.is_abandoned(begun)
        assert store.begin("a-1") is None, "it is begun once"
        store.end(begun, "done", [1, 2])
    done = store.get("a-1")
    assert done is not None
    assert (done.state, done.result, done.live) == ("done", [1, 2], False)
    assert files(store) == {"job.json", "lock"}


def test_there_is_one_live_job_per_id(store: JobStore) -> None:
    job = queue_job(store)
    assert store.add("a-1", "test", {"x": 2}, lambda path: None) == (job, False)
    assert store.request("a-1") == {"x": 1}
    store.cancel("a-1")
    again, new = store.add("a-1", "test", {"x": 2}, lambda path: None)
    assert (new, again.state, store.request("a-1")) == (True, "queued", {"x": 2})


def test_a_spine_that_cannot_be_spooled_leaves_nothing(store: JobStore) -> None:
    def full(path: Path) -> None:
        (path / "rows").touch()
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        store.add("a-1", "test", {}, full)
    assert store.all() == []
    assert list(store.root.iterdir()) == []


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(store: JobStore) -> None:
    queue_job(store)
    cancelled = store.cancel("a-1")
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    assert files(store) == {"job.json"}
    assert store.begin("a-1") is None
    queue_job(store, "a-2")
    store.begin("a-2")
    asked = store.cancel("a-2")
    assert asked is not None
    assert asked.state == "running"
    assert store.cancel_requested("a-2")
    with store.lock():
        assert store.requeue(asked).state == "cancelled", "its process is gone: that was all it waited for"
    assert store.cancel("nothing") is None


def test_a_job_whose_process_died_is_queued_again_a_few_times(store: JobStore) -> None:
    queue_job(store)
    for runs in range(1, module.RUNS + 1):
        job = store.begin("a-1")
        assert job is not None
        assert job.runs == runs
        assert store.is_abandoned(job)
        with store.lock():
            store.requeue(job)
    given_up = store.get("a-1")
    assert given_up is not None
    assert (given_up.state, given_up.error and given_up.error["type"]) == ("failed", "NotReady")


def test_a_regular_shutdown_does_not_count_as_an_attempt(store: JobStore) -> None:
    queue_job(store)
    job = store.begin("a-1")
    assert job is not None
    with store.lock():
        assert store.requeue(job, count=False).runs == 0


def test_too_many_are_refused(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    for number in range(WAITING):
        jobs.start(f"a-{number}", "test", {})
    assert jobs.start("a-0", "test", {}).state == "queued", "one that waits already is no further one"
    with pytest.raises(NotReady, match="jobs are waiting"):
        jobs.start("one-more", "test", {})
    assert jobs.get("one-more") is None
    jobs.close()


def test_old_jobs_are_deleted(store: JobStore) -> None:
    for id in ("old", "young", "waits"):
        queue_job(store, id)
    for id in ("old", "young"):
        store.cancel(id)
    (store.root / "never.part").mkdir()
    long_ago = time.time() - 1 - module.KEEP.total_seconds()
    for id in ("old", "waits", "never.part"):
        os.utime(store.root / id, (long_ago, long_ago))
    store.remove_expired()
    assert {path.name for path in store.root.iterdir() if path.is_dir()} == {"young", "waits"}


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", "a.b", "x" * 201, "a\x00"])
def test_no_id_names_a_path_outside_of_the_folder(store: JobStore, id: str) -> None:
    assert store.get(id) is None
    assert store.cancel(id) is None
