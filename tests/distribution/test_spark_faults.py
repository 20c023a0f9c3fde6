"""On a standalone master of Spark: an executor, its Python, or the driver is killed while buckets are computed, or a disk is full.

No snapshot is made and no stray file is left after `maintain`, and the run, or the next one, completes.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from featurestore.pipelines.materialization.checkpoint import CHECKPOINT
from tests.distribution import spark_servers
from tests.distribution import workers_world as world
from tests.distribution.test_faults import CHUNK_ROWS, VIEW, appends, check_files, expected, home

pytest.importorskip("pyspark", reason="could not import 'pyspark': pip install 'featurestore[spark]'")
pytestmark = pytest.mark.slow

__all__ = ["expected", "home"]

RUN = f"""
import sys
from pathlib import Path
from featurestore.distribution import spark_cluster
from tests.distribution import test_faults, workers_world as world
# Waves of one bucket, which the checkpoint has after each.
spark_cluster.WAVES, spark_cluster.WAVE_BUCKETS = 1 << 20, 1
home, engine = Path(sys.argv[1]), sys.argv[2]
def watch(progress):
    if progress.stage == "compute":
        print(progress.done, progress.total, flush=True)
def complete():
    with world.opened(home, engine, chunk_rows={CHUNK_ROWS}) as store:
        store.materialize("{VIEW}", end=test_faults.END, progress=watch)
"""
COMPLETE = f"{RUN}\ncomplete()"
KILL = f"""{RUN}
import os, signal
victim, armed = sys.argv[3], Path(sys.argv[4])
driver, compute = os.getpid(), spark_cluster._compute

def parent(pid):
    return int(Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])

# Spark sends a function of a script with its code, so executors run it: the files of the bucket are written, and nobody knows of them.
def compute_and_kill(held, batches):
    for batch in compute(held, batches):
        try:
            armed.unlink()
        except FileNotFoundError:
            yield batch
            continue
        own = os.getpid()
        os.kill({{"python": own, "executor": parent(parent(own)), "driver": driver}}[victim], signal.SIGKILL)
        yield batch

def watch(progress):
    if progress.stage == "compute":
        print(progress.done, progress.total, flush=True)
        if progress.done == 2:
            armed.touch()

spark_cluster._compute = compute_and_kill
complete()
"""
FULL = f"""{RUN}
from featurestore.errors import OutOfResources
try:
    complete()
except OutOfResources as error:
    assert error.details["resource"] == "disk", error
else:
    raise AssertionError("it was not full")
"""


def drive(script: str, *arguments: str | Path) -> tuple[int, list[int]]:
    """Run a driver: its exit status, and the numbers of finished buckets as they were told."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600, env=spark_servers.environment(), check=False)
    shown = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    # Some are done before a kill, and some after it.
    assert all(total > 3 for _, total in shown if total > 1)
    return done.returncode, [finished for finished, total in shown if total > 1]


def check(home: Path, expected: list[str]) -> None:
    """The table has the rows of one machine, from one commit, and no other files."""
    with world.opened(home) as store:
        assert world.stored(store)[VIEW] == expected
        assert appends(store) == 1
        check_files(store)


@pytest.mark.parametrize("victim", ["executor", "python"])
def test_an_executor_is_killed(victim: str, home: Path, expected: list[str], tmp_path: Path) -> None:
    with spark_servers.standalone(tmp_path) as (address, _):
        status, shown = drive(KILL, home, address, victim, tmp_path / "armed")
    assert not (tmp_path / "armed").exists()
    assert (status, shown[:3]) == (0, [0, 1, 2])
    check(home, expected)


def test_the_driver_is_killed(home: Path, expected: list[str], tmp_path: Path) -> None:
    with spark_servers.standalone(tmp_path) as (address, _):
        status, _ = drive(KILL, home, address, "driver", tmp_path / "armed")
        assert status == -signal.SIGKILL
        with world.opened(home) as store:
            assert appends(store) == 0
            assert CHECKPOINT in store.catalog.load_table(f"features.{VIEW}_v1").properties
        status, shown = drive(COMPLETE, home, address)
    assert (status, min(shown)) == (0, 2)
    check(home, expected)


def test_the_disk_of_a_worker_is_full(home: Path, expected: list[str], tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on PATH: apt-get install util-linux")
    small = tmp_path / "small"
    small.mkdir()
    # In a mount namespace of its own. Python takes no folder for its temporary files that has no room at all: 24 KiB are left.
    fill = f"mount -t tmpfs -o size=8m tmpfs {small} && head -c {(8192 - 24) << 10} /dev/zero >{small}/filler && export TMPDIR={small}"
    prefix = ["unshare", "-rm", "sh", "-c", f'{fill} && exec "$@"', "sh"]
    with spark_servers.standalone(tmp_path, [prefix]) as (address, (worker,)):
        filler = Path(f"/proc/{worker}/root{small}/filler")
        assert filler.stat().st_size > 0
        assert drive(FULL, home, address)[0] == 0
        with world.opened(home) as store:
            assert appends(store) == 0
        filler.unlink()
        assert drive(COMPLETE, home, address)[0] == 0
    check(home, expected)
