"""A store whose warehouse lies on S3: what the engine writes is uploaded, what it reads comes as streams."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings
from tests.pipelines.test_backfill import END, as_of, declare, events
from tests.s3 import connection, server
from tests.worlds import load_source


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server() as address:
        yield address


@pytest.mark.slow
def test_the_same_rows_as_on_a_local_disk(endpoint: str, tmp_path: Path) -> None:
    there = Settings(home=tmp_path / "there", warehouse="s3://lake/warehouse", catalog=connection(endpoint, tmp_path), chunk_rows=400)
    here = Settings(home=tmp_path / "here")
    stores = [FeatureStore(settings=settings) for settings in (there, here)]
    for store in stores:
        load_source(store, "raw.s", events(0, 24 * 50))
        store.apply(declare())
        store.materialize(end=END - timedelta(days=1))
        # Late rows, a new day, and some rows that go.
        store.catalog.load_table("raw.s").append(events(24 * 45, 24 * 51))
        store.materialize(end=END)
        store.catalog.load_table("raw.s").delete("k = 3")
        store.materialize(end=END)
        assert [run.rows_appended for run in store.materialize(end=END)] == [0, 0, 0]
    assert as_of(stores[0]).equals(as_of(stores[1]))
    online = [store.online_features("service", [{"k": k} for k in range(9)]).rows for store in stores]
    assert online[0] == online[1]
    assert not list((tmp_path / "there" / "spill").iterdir())
