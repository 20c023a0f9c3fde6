"""A key with half of all events, whose windows do not fit in memory, is computed by time; its rows are those of enough memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureView, Source, agg
from featurestore.compiler.events import DAY
from featurestore.errors import OutOfResources
from tests.distribution import workers_world as world
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

EVENTS, DAYS = 400_000, 120
LIMITS: dict[str, Any] = {"memory_limit": "60MB", "threads": 1}


def events() -> pa.Table:
    """Half of the events are of the key 0; hardly two values are equal."""
    chance = np.random.default_rng(3)
    keys = np.where(chance.random(EVENTS) < 0.5, 0, chance.integers(1, 2000, EVENTS))
    at = int(world.T.timestamp() * 1_000_000) + np.sort(chance.integers(0, DAYS * DAY, EVENTS))
    return pa.table({"key": keys, "at": pa.array(at, STAMP), "x": chance.standard_normal(EVENTS)})


def compute(home: Path, engine: str | None = None, **limits: object) -> list[str]:
    """The rows of a first run."""
    features = {"kinds": agg.count_distinct("x", over="7d"), "spread": agg.stddev("x", over="7d"), "sum": agg.sum("x", over="7d")}
    source = Source("s", table="raw.s", timestamp="at")
    view = FeatureView("v", entity=Entity("one", keys="key"), source=source, every="1d", features=features)
    with world.opened(home, engine, **limits) as store:
        load_source(store, "raw.s", events())
        store.apply([FeatureService("s", features=[view])])
        store.materialize()
        rows = store.catalog.load_table("features.v_v1").scan().to_arrow().drop_columns("created_timestamp").to_pylist()
    return sorted(repr(sorted(row.items())) for row in rows)


def test_a_key_that_does_not_fit_in_memory(dask_address: str, tmp_path: Path) -> None:
    with pytest.raises(OutOfResources, match="memory"):
        compute(tmp_path / "small", **LIMITS)
    assert compute(tmp_path / "workers", dask_address, **LIMITS) == compute(tmp_path / "large")
