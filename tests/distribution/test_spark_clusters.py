"""A standalone master with two workers, and Spark Connect: rows and digests are those of one machine."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distribution import spark_servers
from tests.distribution import workers_world as world

pytest.importorskip("pyspark", reason="could not import 'pyspark': pip install 'featurestore[spark]'")
pytestmark = pytest.mark.slow

VIEWS = ["everything", "known"]
SERVICE = "few"
# A process of its own: one has a single session of Spark, and that of other tests computes in the process.
DRIVER = """
import sys
from pathlib import Path
from tests.distribution import test_spark_clusters as test, workers_world as world
with world.opened(Path(sys.argv[1]), sys.argv[2], chunk_rows=600) as store:
    world.fill(store)
    world.live(store, test.VIEWS)
    for known in world.KNOWN:
        store.training_set(test.SERVICE, world.spine(), "t", name=known, known=known)
"""
ABSENT = """
from featurestore.distribution import spark_cluster
from featurestore.errors import NotReady
spark_cluster.CONNECT_RETRIES = 1
try:
    spark_cluster.SparkCluster("sc://127.0.0.1:9")
except NotReady as error:
    print(error)
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The feature tables that one machine makes of the history."""
    with world.opened(tmp_path_factory.mktemp("local")) as store:
        world.fill(store)
        world.live(store, VIEWS)
        return world.stored(store)


@pytest.fixture(params=["standalone", "connect"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The setting `engine` of each kind of servers."""
    start = spark_servers.standalone if request.param == "standalone" else spark_servers.connect_server
    with start(tmp_path) as (found, _):
        yield found


def test_a_history_and_its_training_sets(address: str, expected: dict[str, list[str]], tmp_path: Path) -> None:
    home = tmp_path / "home"
    subprocess.run([sys.executable, "-c", DRIVER, str(home), address], check=True, timeout=600, env=spark_servers.environment())
    with world.opened(home) as store:
        assert world.stored(store) == expected
        built = store.training_sets()
        assert len(built) == len(world.KNOWN)
        for training_set in built:
            store.rebuild(training_set.id)


def test_a_connect_server_that_is_not_there() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT], check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    assert done.stdout.startswith("sc://127.0.0.1:9 cannot be reached")
