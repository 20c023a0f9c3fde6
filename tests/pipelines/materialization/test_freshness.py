"""The freshness of a view: its last run, its watermark, and the newest event of its source."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)


def rows(*days: int) -> pa.Table:
    at = [T + timedelta(days=day) for day in days]
    return pa.table({"k": pa.array(range(len(days)), pa.int64()), "at": pa.array(at, STAMP), "x": pa.array([1.0] * len(days))})


def day_text(day: int) -> str:
    return (T + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, "1d"])
def test_the_newest_event_is_that_of_the_source_as_it_is(tmp_path: Path, every: str | None) -> None:
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        table = load_source(store, "raw.s", rows(0, 3, 5))
        features = {"x": "x"} if every is None else {"n": agg.count(over="2d")}
        source = Source("s", table="raw.s", timestamp="at")
        view = FeatureView("v", entity=Entity("e", keys="k"), source=source, every=every, features=features)
        store.apply([FeatureService("svc", features=[view])])
        assert (store.view("v")["newest_event"], store.view("v")["materialized_at"]) == (None, None)
        store.materialize(end=T + timedelta(days=4))
        assert store.view("v")["newest_event"] == day_text(5)
        store.materialize()
        first = store.view("v")
        store.materialize()
        again = store.view("v")
        assert first["newest_event"] == again["newest_event"] == day_text(5)
        assert first["materialized_through"] < again["materialized_through"]
        assert first["materialized_at"] < again["materialized_at"]
        table.append(rows(7))
        store.materialize()
        assert store.view("v")["newest_event"] == day_text(7)
        # Late events are not newer; what lies in the future has not happened.
        table.append(pa.concat_tables([rows(1), rows(36_500)]))
        store.materialize()
        assert store.view("v")["newest_event"] == day_text(7)
        table.delete(f"at = '{(T + timedelta(days=7)).isoformat()}'")
        store.materialize()
        assert store.view("v")["newest_event"] == day_text(5)


def test_a_run_that_changes_nothing_commits_nothing(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        load_source(store, "raw.s", rows(0, 3))
        view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", table="raw.s", timestamp="at"), features=["x"])
        store.apply([FeatureService("svc", features=[view])])
        store.materialize(end=T + timedelta(days=9))
        before = store.catalog.load_table("features.v_v1").metadata_location
        store.materialize(start=T, end=T + timedelta(days=9))
        store.materialize(end=T + timedelta(days=9))
        assert store.catalog.load_table("features.v_v1").metadata_location == before
