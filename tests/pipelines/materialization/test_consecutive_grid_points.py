"""Consecutive grid points: computed from events in memory, or read again from files that are too large."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests.worlds import STAMP, load_source

DAY = 86_400_000_000
EVENTS = 210_000
FEATURES = {
    "n": agg.count(over=["1d", "2d"]),
    "total": agg.sum("x", over=["1d", "2d"]),
    "first": agg.first("x", over=["1d", "2d"]),
    "median": agg.percentile("x", q=0.5, over="2d"),
}


def events(times: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Table:
    count = len(times)
    return pa.table({"k": np.arange(count) % 3, "at": pa.array(times, STAMP), "x": np.arange(count) * 0.37})


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", [None, "48MB"])
def test_two_days_at_once_give_what_their_windows_hold(tmp_path: Path, memory_limit: str | None) -> None:
    thing, source = Entity("thing", keys="k"), Source("s", table="raw.s", timestamp="at")
    view = FeatureView("v", entity=thing, source=source, every="1d", features=FEATURES)
    with FeatureStore(settings=Settings(home=tmp_path / "home", memory_limit=memory_limit, threads=1)) as store:
        table = load_source(store, "raw.s", events(np.array([5])))
        store.apply([FeatureService("service", features=[view])])
        store.materialize(end=moment(1))
        more = events(np.linspace(DAY + 1, 3 * DAY - 1, EVENTS).astype(np.int64))
        table.append(more)
        [done] = store.materialize(end=moment(3))
        assert (done.rows_appended, done.corrections) == (6, 0)
        found = (
            store.catalog.load_table("features.v_v1").scan().to_arrow().sort_by([("k", "ascending"), ("feature_timestamp", "ascending")])
        )
    rows = [row for row in found.to_pylist() if row["feature_timestamp"] > moment(1)]
    at, k, x = (np.asarray(more[name].cast(pa.int64()) if name == "at" else more[name]) for name in ("at", "k", "x"))
    old = {"at": np.array([5]), "k": np.array([0]), "x": np.array([0.0])}
    at, k, x = np.append(old["at"], at), np.append(old["k"], k), np.append(old["x"], x)
    assert len(rows) == 6
    for row in rows:
        point = int(row["feature_timestamp"].timestamp()) * 1_000_000
        held = {days: x[(k == row["k"]) & (at >= point - days * DAY) & (at < point)] for days in (1, 2)}
        assert [row["n_1d"], row["n_2d"]] == [len(held[1]), len(held[2])]
        assert [row["total_1d"], row["total_2d"]] == pytest.approx([held[1].sum(), held[2].sum()], rel=1e-12)
        assert [row["first_1d"], row["first_2d"]] == [held[1][0], held[2][0]]
        assert row["median_2d"] == pytest.approx(np.median(held[2]), rel=1e-12)


def moment(days: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)
