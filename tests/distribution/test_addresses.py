"""The setting `engine`: which addresses there are, and what is said of workers that are not there."""

from pathlib import Path

import pytest

from featurestore import Settings
from featurestore.distribution.factory import open_distributor
from featurestore.errors import NotReady, RequestError
from tests.distribution import workers_world as world


@pytest.mark.parametrize("address", ["local", "dask://local", "dask://10.0.0.1:8786", "spark", "spark://m:7077", "sc://m:15002/;user_id=x"])
def test_addresses(address: str, tmp_path: Path) -> None:
    engine = Settings(home=tmp_path, engine=address).engine
    assert (engine is None) == (address == "local")


@pytest.mark.parametrize("address", ["dask", "dask://", "ray://local", "spark://", "http://127.0.0.1", ""])
def test_other_addresses_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises((RequestError, ValueError), match="dask://host:port"):
        Settings(home=tmp_path, engine=address)


def test_a_token_is_no_part_of_an_address(tmp_path: Path) -> None:
    with pytest.raises((RequestError, ValueError), match="SPARK_CONNECT_AUTHENTICATE_TOKEN") as refused:
        Settings(home=tmp_path, engine="sc://m:15002/;user_id=x;token=sesame")
    assert "sesame" not in str(refused.value)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="could not import 'distributed': pip install 'featurestore[dask]'")
    monkeypatch.setattr("featurestore.distribution.dask_cluster.CONNECT_SECONDS", 0.1)
    with pytest.raises(NotReady, match=r"the Dask scheduler dask://127\.0\.0\.1:9 cannot be reached"):
        open_distributor("dask://127.0.0.1:9")


@pytest.mark.slow
def test_a_cluster_without_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="could not import 'distributed': pip install 'featurestore[dask]'")
    monkeypatch.setattr("featurestore.distribution.dask_cluster.IDLE_SECONDS", 0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        world.opened(tmp_path, cluster.scheduler_address.replace("tcp://", "dask://")) as store,
    ):
        world.fill(store)
        with pytest.raises(NotReady, match="has had no worker"):
            store.materialize("known")
