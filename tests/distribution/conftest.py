"""Workers for the tests of a session: a Dask scheduler with two worker processes, and Spark in this process with two cores."""

from collections.abc import Iterator

import pytest

from featurestore.distribution.factory import open_distributor


@pytest.fixture(scope="session")
def dask_address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="could not import 'distributed': pip install 'featurestore[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture(scope="session")
def spark_address() -> Iterator[str]:
    pytest.importorskip("pyspark", reason="could not import 'pyspark': pip install 'featurestore[spark]'")
    # Stores use this session, and leave it open: Java takes seconds to start.
    cluster = open_distributor("spark")
    yield "spark"
    cluster.close()


@pytest.fixture(params=["dask", "spark"])
def engine(request: pytest.FixtureRequest) -> str:
    """The setting `engine` of each kind of workers."""
    return str(request.getfixturevalue(f"{request.param}_address"))
