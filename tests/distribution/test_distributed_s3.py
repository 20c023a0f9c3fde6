"""Workers read and write a warehouse on S3, with the credentials of the catalog's settings, which they get with the work."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.distribution import workers_world as world
from tests.s3 import connection, server

pytestmark = pytest.mark.slow

VIEW = "known"


def test_a_history_on_s3(dask_address: str, tmp_path: Path) -> None:
    histories = []
    with server() as endpoint:
        there = {"warehouse": "s3://lake/warehouse", "catalog": connection(endpoint, tmp_path)}
        for name, engine, settings in (("there", dask_address, there), ("here", None, {})):
            with world.opened(tmp_path / name, engine, **settings) as store:
                world.fill(store)
                store.materialize([VIEW, "rows"], end=world.T + timedelta(days=20))
                store.catalog.load_table("raw.s").delete("a = 'k3'")
                store.materialize([VIEW, "rows"], end=world.T + timedelta(days=32))
                seen = store.point_in_time("known", world.spine(), "t")
                histories.append((world.stored(store)[VIEW], repr(seen.to_pylist())))
    assert histories[0] == histories[1]
