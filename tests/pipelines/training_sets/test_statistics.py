"""Statistics of a training set's columns: compared with plain Python, for any number of threads, and after maintenance."""

import math
import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.pipelines.training_sets import feature_statistics
from featurestore.pipelines.training_sets.column_profile import BINS, BLOCK, PERCENTS, TOP, Extent, Profile, count_runs
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = {
    "amount": [1.5, -0.0, 0.0, math.nan, math.inf, None, 2.5, 1.5],
    "orders": [3, 1, 1, None, 2, 5, 1, 2**53 + 1],
    "country": ["NL", "BE", None, "NL", "x" * 300, "DE", "BE", "NL"],
    "company": [True, None, False, True, True, False, True, True],
    "since": [T, None, T + timedelta(days=1), T, T, T, T, T],
    "price": [Decimal("1.10"), None, Decimal("2.20"), Decimal("1.10"), *[Decimal("3.30")] * 4],
    "marks": [[1], None, [], [1], [1, 2], [2, 1], [1], [1]],
}


def open_store(home: Path, threads: int) -> FeatureStore:
    store = FeatureStore(settings=Settings(home=home, threads=threads))
    rows = {"id": pa.array(range(8), pa.int64()), "at": pa.array([T] * 8, STAMP)}
    kinds = {"since": STAMP}
    rows |= {name: pa.array(values, kinds.get(name)) for name, values in COLUMNS.items()}
    load_source(store, "shop.people", pa.table(rows))
    source = Source("people", table="shop.people", timestamp="at")
    view = FeatureView("people", entity=Entity("person", keys="id"), source=source, features=list(COLUMNS))
    store.apply([FeatureService("people", features=[view])])
    store.materialize()
    return store


def spine() -> pa.Table:
    ids = [*range(8), 99]
    return pa.table({"id": pa.array(ids, pa.int64()), "t": pa.array([T] * 9, STAMP), "y": [value % 2 == 0 for value in ids]})


@pytest.mark.slow
def test_statistics_are_those_of_the_stored_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path, 2)
    made = store.training_set("people", spine(), "t", label="y")
    found = made.statistics
    assert (found["training_set"], found["rows"]) == (made.id, 9)
    columns = found["columns"]
    assert list(columns) == ["y", *COLUMNS]
    assert {name: (one["count"], one["nulls"]) for name, one in columns.items()} == {
        "y": (9, 0),
        "amount": (7, 2),
        "orders": (7, 2),
        "country": (7, 2),
        "company": (7, 2),
        "since": (7, 2),
        "price": (7, 2),
        "marks": (7, 2),
    }
    amount = columns["amount"]
    assert (amount["nan"], amount["infinite"], amount["min"], amount["max"]) == (1, 1, 0.0, 2.5)
    assert amount["mean"] == pytest.approx(statistics.mean([1.5, 0, 0, 2.5, 1.5]))
    assert amount["top"] == [[0.0, 2], [1.5, 2], [2.5, 1]]
    assert (columns["orders"]["max"], columns["orders"]["quantiles"]["50"]) == (2**53 + 1, 2)
    assert columns["country"]["top"] == [["NL", 3], ["BE", 2], ["DE", 1], ["x" * 200, 1]]
    assert columns["company"]["top"] == [[True, 5], [False, 2]]
    assert (columns["since"]["min"], columns["since"]["distinct"]) == ("2026-03-01T00:00:00.000000Z", 2)
    assert "mean" not in columns["since"]
    assert (columns["price"]["top"][0], columns["marks"]["distinct"]) == ([3.3, 4], 4)
    store.maintain(older_than=timedelta(0))
    assert store.get_training_set(made.id).statistics == found
    store.catalog.drop_table("registry.statistics")
    assert store.get_training_set(made.id).statistics == found, "computed again from the rows"
    assert store.catalog.table_exists("registry.statistics")
    # In one byte fits no column; in 445 fit four, by the size that is assumed, of which one has a long text.
    for room in (1, 445):
        store.catalog.drop_table("registry.statistics")
        monkeypatch.setattr(feature_statistics, "MEMORY_DIVISOR", store._runtime.engine.memory // feature_statistics.MEMORY_FACTOR // room)
        assert store.get_training_set(made.id).statistics == found, room


@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=60), st.integers(1, 60))
@example([5.0] * 3, 1)
@example([-1.7e308, 1.7e308], 1)
@settings(deadline=None)
def test_a_profile_agrees_with_plain_python(values: list[float], size: int) -> None:
    ordered = np.array(sorted(value + 0.0 for value in values))
    profile = Profile(Extent(len(ordered), ordered[0].item(), ordered[-1].item()))
    found = profile.consume(count_runs(ordered[start : start + size] for start in range(0, len(ordered), size))).to_dict(
        lambda value: value, moments=True
    )
    counts = Counter(ordered.tolist())
    assert found["distinct"] == len(counts)
    assert found["top"] == [list(pair) for pair in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]]
    for percent in PERCENTS:
        reached = [value for value in ordered.tolist() if sum(other <= value for other in values) * 100 >= percent * len(values)]
        assert found["quantiles"][str(percent)] == reached[0]
    assert sum(found["histogram"]["counts"]) == len(values)
    assert len(found["histogram"]["edges"]) == len(found["histogram"]["counts"]) + 1 <= BINS + 1
    if max(map(abs, values)) < 1e300:
        assert found["mean"] == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    if len(values) > 1 and max(map(abs, values)) < 1e150:
        assert found["stddev"] == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


def test_batches_do_not_change_a_profile() -> None:
    values = np.sort(np.random.default_rng(0).normal(1e6, 1, 3 * BLOCK + 17))
    extent = Extent(len(values), values[0].item(), values[-1].item())
    profiles = [
        Profile(extent).consume(count_runs(np.array_split(values, pieces))).to_dict(lambda value: value, moments=True)
        for pieces in (1, 2, 7, 100)
    ]
    assert all(profile == profiles[0] for profile in profiles)
    assert profiles[0]["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert profiles[0]["stddev"] == pytest.approx(values.std(ddof=1), rel=1e-9)


@pytest.mark.slow
def test_threads_do_not_change_statistics(tmp_path: Path) -> None:
    profiles = []
    for threads in (1, 4):
        with open_store(tmp_path / str(threads), threads) as store:
            profiles.append(store.training_set("people", spine(), "t", label="y").statistics["columns"])
    assert profiles[0] == profiles[1]
