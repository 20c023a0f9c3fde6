"""A worker or driver that dies, and a full disk of a worker: no snapshot, no stray file after `maintain`; the next run completes."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table.snapshots import Operation

from featurestore import FeatureStore
from featurestore.errors import OutOfResources
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT
from featurestore.pipelines.materialization.view_progress import ViewProgress
from tests.distribution import workers_world as world

pytestmark = pytest.mark.slow

END = world.T + timedelta(days=40)
VIEW = "known"
CHUNK_ROWS = 200
DRIVER = """
import os, signal, sys
from pathlib import Path
from tests.distribution import test_faults, workers_world as world
def die(progress):
    if progress.stage == "compute" and progress.done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
with world.opened(Path(sys.argv[1]), sys.argv[2], chunk_rows=test_faults.CHUNK_ROWS) as store:
    store.materialize(test_faults.VIEW, end=test_faults.END, progress=die)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The rows that one machine computes."""
    with world.opened(tmp_path_factory.mktemp("local")) as store:
        world.fill(store)
        store.materialize(VIEW, end=END)
        return world.stored(store)[VIEW]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store that is not materialized."""
    with world.opened(tmp_path / "home") as store:
        world.fill(store)
    return tmp_path / "home"


def check_files(store: FeatureStore) -> None:
    """When files are old, maintenance removes those that nobody refers to."""
    long_ago = (datetime.now(UTC) - timedelta(days=40)).timestamp()
    folder = Path(store.catalog.load_table(f"features.{VIEW}_v1").location().removeprefix("file://")) / "data"
    for path in folder.rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    store.maintain(older_than=timedelta(days=30))
    table = store.catalog.load_table(f"features.{VIEW}_v1")
    kept = {entry["file_path"].removeprefix("file://") for entry in table.inspect.all_files().to_pylist()}
    assert {str(path) for path in folder.rglob("*.parquet")} == kept


def appends(store: FeatureStore) -> int:
    """How many snapshots of the table added rows; another one may have merged small files."""
    table = store.catalog.load_table(f"features.{VIEW}_v1")
    return sum(snapshot.summary is not None and snapshot.summary.operation is Operation.APPEND for snapshot in table.snapshots())


def test_a_worker_is_killed(dask_address: str, home: Path, expected: list[str]) -> None:
    from distributed import Client  # noqa: PLC0415

    killed: list[int] = []
    with Client(dask_address.replace("dask://", "tcp://"), set_as_default=False) as client:

        def kill(progress: ViewProgress) -> None:
            if progress.stage == "compute" and progress.done == 1 and not killed:
                killed.extend(client.run(os.getpid).values())
                os.kill(killed[0], signal.SIGKILL)

        with world.opened(home, dask_address, chunk_rows=CHUNK_ROWS) as store:
            store.materialize(VIEW, end=END, progress=kill)
            assert killed
            assert world.stored(store)[VIEW] == expected
            assert appends(store) == 1
            check_files(store)


def test_the_driver_is_killed(dask_address: str, home: Path, expected: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", DRIVER, str(home), dask_address], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    shown: list[ViewProgress] = []
    with world.opened(home, dask_address, chunk_rows=CHUNK_ROWS) as store:
        assert appends(store) == 0
        assert CHECKPOINT in store.catalog.load_table(f"features.{VIEW}_v1").properties
        store.materialize(VIEW, end=END, progress=shown.append)
        assert min(progress.done for progress in shown if progress.total > 1) == 2
        assert world.stored(store)[VIEW] == expected
        assert appends(store) == 1
        check_files(store)


@contextmanager
def worker_without_disk(scheduler: str, folder: Path) -> Iterator[None]:
    """A worker whose folder for temporary files has 24 KiB, in a mount namespace of its own."""
    small = folder / "small"
    small.mkdir()
    command = f"mount -t tmpfs -o size=24k tmpfs {small} && exec {sys.executable} -m distributed.cli.dask_worker"
    options = f"{scheduler} --no-nanny --no-dashboard --nthreads 1 --local-directory {folder} --name small"
    environment = {**os.environ, "TMPDIR": str(small)}
    with subprocess.Popen(["unshare", "-rm", "sh", "-c", f"{command} {options}"], env=environment) as process:
        try:
            yield
        finally:
            process.kill()


def test_the_disk_of_a_worker_is_full(home: Path, tmp_path: Path, expected: list[str]) -> None:
    distributed = pytest.importorskip("distributed", reason="could not import 'distributed': pip install 'featurestore[dask]'")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on PATH: apt-get install util-linux")
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        with world.opened(home, address, chunk_rows=CHUNK_ROWS) as store:
            with worker_without_disk(cluster.scheduler_address, tmp_path), pytest.raises(OutOfResources, match="disk"):
                store.materialize(VIEW, end=END)
            assert appends(store) == 0
            cluster.scale(1)
            store.materialize(VIEW, end=END)
            assert world.stored(store)[VIEW] == expected
            check_files(store)
