"""Jobs in separate processes: canceled, out of memory, and restarted after their runner is killed."""

import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from featurestore import FeatureStore, connect
from featurestore.errors import OutOfResources
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.progress import FINISH
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.pipelines.training_sets.spooled import spool
from featurestore.server.jobs.handlers import TRAINING_SET
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.job_store import JobStore
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import JobWorker, jobs_path
from tests import shop
from tests.cli.test_serve import serve

pytestmark = pytest.mark.slow

PATIENCE = 90.0
MANY = 500_000


def many(rows: int = MANY) -> pa.Table:
    """A spine that takes a second or more to join."""
    times = pa.array([shop.days(1)], shop.TIME).take(pa.array(np.zeros(rows, np.int64)))
    return pa.table({"customer_id": pa.array(np.arange(rows) % 5), "basket": pa.array(np.ones(rows)), "asked_at": times})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """The shop, in the folder of a project."""
    with shop.open_shop(tmp_path_factory.mktemp("project") / ".featurestore", threads=1) as opened:
        yield opened


@pytest.fixture
def jobs(store: FeatureStore) -> Iterator[Jobs]:
    """The jobs of the shop; each test opens the worker itself."""
    opened = Jobs(jobs_path(store.settings))
    yield opened
    opened.close()


def ask(store: FeatureStore, jobs: Jobs, name: str, spine: pa.Table) -> str:
    """Queue a training set as a server does."""
    prepared = store.backend.prepare_training_set(TrainingSetRequest.of("churn", spine, "asked_at", name=name))
    jobs.start(prepared.id, TRAINING_SET, {}, functools.partial(spool, prepared))
    return prepared.id


def until(look: Callable[[], Any]) -> Any:
    """The first result of `look` that is not empty."""
    pause = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if found := look():
            return found
        pause.wait(0.01)
    raise AssertionError(f"not within {PATIENCE} seconds")


def wait_for_end(jobs: Jobs, id: str) -> Job:
    """The job after it has finished."""
    ended: Job = until(lambda: (job := jobs.get(id)) is not None and not job.live and job)
    return ended


def frozen(store: FeatureStore, id: str) -> int:
    """The process of a job, stopped in the middle of the join."""
    jobs = JobStore(jobs_path(store.settings))
    until(lambda: (job := jobs.get(id)) is not None and job.state == "running" and job.progress)
    pid = int((jobs.path(id) / "lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    job = jobs.get(id)
    assert job is not None
    assert job.progress is not None
    assert (job.state, job.progress["stage"] == FINISH) == ("running", False), "it was to be stopped before its end"
    return pid


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def files(store: FeatureStore, name: str) -> list[Path]:
    """The files of a training set in the warehouse and in the spill folder."""
    home = store.settings.home_path()
    return [*(home / "warehouse" / "training_sets" / name).rglob("*.parquet"), *(home / "spill").glob(f"job-{name}-*")]


def test_a_cancelled_build_leaves_nothing_and_the_next_one_runs(store: FeatureStore, jobs: Jobs) -> None:
    tags = {view["table"]: dict(store.catalog.load_table(view["table"]).refs()) for view in store.views()}
    with JobWorker(store.settings):
        id = ask(store, jobs, "unwanted", many())
        after = ask(store, jobs, "after", shop.spine())
        pid = frozen(store, id)
        asked = jobs.cancel(id)
        assert asked is not None
        assert asked.state == "running"
        os.kill(pid, signal.SIGCONT)
        assert wait_for_end(jobs, id).state == "cancelled"
        assert not store.backend.has_training_set(id)
        assert files(store, "unwanted") == []
        # What it was asked is removed after its end is recorded.
        until(lambda: {path.name for path in (jobs_path(store.settings) / id).iterdir()} == {"job.json", "lock"})
        assert wait_for_end(jobs, after).state == "done"
        now = {table: {name: ref for name, ref in store.catalog.load_table(table).refs().items() if after not in name} for table in tags}
        assert now == tags
        ask(store, jobs, "unwanted", many())
        assert wait_for_end(jobs, id).state == "done"
        assert store.get_training_set(id).manifest["rows"] == MANY


def test_a_build_that_needs_too_much_memory_fails_and_the_server_lives_on(tmp_path: Path) -> None:
    with (
        shop.open_shop(tmp_path, job_memory_limit="450MB", threads=1) as store,
        shop.serving(store) as url,
        JobWorker(store.settings),
        connect(url, timeout=PATIENCE) as remote,
    ):
        with pytest.raises(OutOfResources, match="raise job_memory_limit"):
            remote.training_set("churn", many(6 * MANY), "asked_at", name="big")
        assert files(store, "big") == []
        assert remote.training_set("churn", many(10), "asked_at", name="small").manifest["rows"] == 10


def test_a_job_outlives_what_runs_it(store: FeatureStore, jobs: Jobs) -> None:
    with JobWorker(store.settings):
        id = ask(store, jobs, "orphan", many())
        os.kill(frozen(store, id), signal.SIGCONT)
    waits = jobs.get(id)
    assert waits is not None
    assert (waits.state, waits.runs) == ("queued", 0), "an end in order does not count"
    assert files(store, "orphan") == []
    with JobWorker(store.settings) as worker:
        pid = frozen(store, id)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        os.kill(pid, signal.SIGCONT)
        done = wait_for_end(jobs, id)
        assert (done.state, done.runs) == ("done", 2)


def test_jobs_outlive_a_server_that_is_killed(store: FeatureStore) -> None:
    folder = store.settings.home_path().parent
    spines = {"running": many(), "waiting": shop.spine().drop_columns(["churned"])}
    with serve(folder, FEATURESTORE_THREADS="1") as (server, url):
        ids = {name: upload(url, name, spine) for name, spine in spines.items()}
        pid = frozen(store, ids["running"])
        for process in (server.pid, parent(parent(pid)), pid):
            os.kill(process, signal.SIGKILL)
        server.wait(30)
    left = {name: JobStore(jobs_path(store.settings)).get(id) for name, id in ids.items()}
    assert {name: job and job.state for name, job in left.items()} == {"running": "running", "waiting": "queued"}
    with serve(folder, FEATURESTORE_THREADS="1") as (server, url):
        assert upload(url, "running", spines["running"]) == ids["running"], "asking again finds the same job"
        for id in ids.values():
            state = httpx.get(f"{url}/v1/training-sets/{id}", params={"wait": 60}, timeout=PATIENCE).json()
            assert state["state"] == "done"
    for name, id in ids.items():
        table = store.catalog.load_table(f"training_sets.{name}")
        assert len(table.snapshots()) == 1, "it was built once"
        expected = store.point_in_time("churn", spines[name], "asked_at")
        assert store.get_training_set(id).digest == table_digest(expected)


def upload(url: str, name: str, spine: pa.Table) -> str:
    """Request a training set from a server, and return its id."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, spine.schema) as writer:
        writer.write_table(spine)
    form = {"service": "churn", "timestamp": "asked_at", "name": name}
    answer = httpx.post(f"{url}/v1/training-sets", data=form, files={"spine": sink.getvalue().to_pybytes()}, timeout=PATIENCE)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
