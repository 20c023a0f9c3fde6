"""Materialization of appends, late rows and deletions, run by run, against the brute-force oracle."""

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import Table

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests import oracle
from tests.worlds import STAMP, load_source, on_a_store

HOUR = 3_600_000_000
BASE = 480_000 * HOUR
LENGTHS = {"1h": HOUR, "3h": 3 * HOUR}
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"k": st.integers(1, 2), "t": st.integers(0, 8 * 4).map(lambda quarter: BASE + quarter * HOUR // 4), "x": st.integers(-3, 3)}
    ),
    min_size=1,
    max_size=5,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), EVENTS),
        st.tuples(st.just("delete"), st.integers(1, 2)),
        st.tuples(st.just("overwrite"), EVENTS),
        st.tuples(st.just("rewrite"), st.none()),
        st.tuples(st.just("run"), st.none() | st.integers(0, 14).map(lambda hour: BASE + hour * HOUR + 7)),
    ),
    min_size=1,
    max_size=6,
)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])
UNBOUNDED = {
    "life": agg.count(over="all"),
    "sum": agg.sum("x", over="all"),
    "kinds": agg.count_distinct("x", over="all"),
    "recent": agg.sum("x", last=[2, 3]),
    "items": agg.last_n("x", n=2),
}
COUNTER = itertools.count()


@pytest.fixture(scope="module", params=[None, 2], ids=["at once", "in chunks"])
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> FeatureStore:
    return FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("store"), chunk_rows=request.param))


def rows(events: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"k": event["k"], "at": event["t"], "x": float(event["x"])} for event in events], SCHEMA)


def declare(number: int, unbounded: bool = False) -> FeatureService:
    source = Source(f"s{number}", table=f"raw.events_{number}", timestamp="at")
    features = {
        "n": agg.count(over=list(LENGTHS)),
        "total": agg.sum("x", over="3h"),
        "last": agg.last("x", over="3h"),
        "median": agg.percentile("x", q=0.5, over="3h"),
        **(UNBOUNDED if unbounded else {}),
    }
    view = FeatureView(f"v{number}", entity=Entity("thing", keys="k"), source=source, every="1h", features=features)
    return FeatureService(f"service{number}", features=[view])


def check(store: FeatureStore, number: int, alive: list[dict[str, Any]], through: int | None, unbounded: bool) -> None:
    """At every quarter of an hour up to the watermark, each key sees a full recomputation at the last grid point."""
    if through is None:
        return
    moments = [BASE + quarter * HOUR // 4 for quarter in range(-4, 16 * 4) if BASE + quarter * HOUR // 4 <= through]
    spine = pa.table({"k": pa.array([1] * len(moments) + [2] * len(moments), pa.int64()), "t": pa.array(moments * 2, STAMP)})
    joined = store.point_in_time(f"service{number}", spine, "t").to_pylist()
    for row in joined:
        t = int(row["t"].timestamp()) * 1_000_000
        g = t // HOUR * HOUR
        own = [{**event, "x": float(event["x"])} for event in alive if event["k"] == row["k"]]
        if any(event["t"] < g for event in own):
            assert row["n_1h"] == len(oracle.window(own, g, HOUR)), (row, g)
            inside = oracle.window(own, g, 3 * HOUR)
            assert row["n_3h"] == len(inside), (row, g)
            assert row["total_3h"] == oracle.aggregate("sum", inside)
            assert row["last_3h"] == oracle.aggregate("last", inside)
            assert row["median_3h"] == oracle.aggregate("percentile", inside)
            if unbounded:
                check_unbounded(row, own, g)
        else:
            assert (row["n_1h"], row["n_3h"], row["total_3h"], row["last_3h"]) == (None,) * 4, (row, g)


def check_unbounded(row: dict[str, Any], own: list[dict[str, Any]], g: int) -> None:
    everything = oracle.window(own, g, None)
    assert row["life_all"] == len(everything), (row, g)
    assert row["sum_all"] == oracle.aggregate("sum", everything)
    assert row["kinds_all"] == oracle.aggregate("count_distinct", everything)
    assert row["recent_last2"] == oracle.aggregate("sum", oracle.latest(own, g, 2))
    assert row["recent_last3"] == oracle.aggregate("sum", oracle.latest(own, g, 3))
    assert row["items"] == oracle.aggregate("last_n", everything, n=2)


def take(step: tuple[str, Any], table: Table, alive: list[dict[str, Any]]) -> None:
    action, argument = step
    if action == "append":
        table.append(rows(argument))
        alive.extend(argument)
    elif action == "delete":
        if any(event["k"] == argument for event in alive):
            table.delete(f"k = {argument}")
        alive[:] = [event for event in alive if event["k"] != argument]
    elif action in ("overwrite", "rewrite"):
        # Over nothing it is an append, and the library warns.
        put = table.overwrite if alive else table.append
        if action == "overwrite":
            alive[:] = [*(event for event in alive if event["k"] != 1), *argument]
        put(rows(alive))


@pytest.mark.slow
@on_a_store(12)
@given(steps=STEPS, unbounded=st.booleans())
def test_any_life_of_a_source_ends_in_the_values_of_one_run(store: FeatureStore, steps: list[tuple[str, Any]], unbounded: bool) -> None:
    number = next(COUNTER)
    table = load_source(store, f"raw.events_{number}", SCHEMA.empty_table())
    store.apply([declare(number, unbounded)])
    alive: list[dict[str, Any]] = []
    through: int | None = None
    for step in steps:
        take(step, table, alive)
        if step[0] == "run":
            end = step[1]
            (done,) = store.materialize(f"v{number}", end=None if end is None else pa.scalar(end, STAMP).as_py())
            if done.end is not None:
                through = max(through or 0, int(done.end.timestamp()) * 1_000_000)
    (last,) = store.materialize(f"v{number}")
    assert last.end is not None
    check(store, number, alive, int(last.end.timestamp()) * 1_000_000, unbounded)
    table_now = store.catalog.load_table(f"features.v{number}_v1")
    snapshots = len(table_now.snapshots())
    (again,) = store.materialize(f"v{number}")
    assert again.rows_appended == 0
    assert len(store.catalog.load_table(f"features.v{number}_v1").snapshots()) == snapshots


@pytest.mark.slow
@on_a_store(8)
@given(events=EVENTS, later=EVENTS, start=st.integers(0, 10), unbounded=st.booleans())
def test_a_history_that_begins_late_carries_its_keys_in(
    store: FeatureStore, events: list[dict[str, Any]], later: list[dict[str, Any]], start: int, unbounded: bool
) -> None:
    number = next(COUNTER)
    table = load_source(store, f"raw.events_{number}", rows(events))
    store.apply([declare(number, unbounded)])
    begin = BASE + start * HOUR - 1
    store.materialize(f"v{number}", start=pa.scalar(begin, STAMP).as_py())
    table.append(rows(later))
    store.materialize(f"v{number}")
    moments = [BASE + hour * HOUR + 5 for hour in range(start, 16)]
    spine = pa.table({"k": pa.array([1] * len(moments), pa.int64()), "t": pa.array(moments, STAMP)})
    for row in store.point_in_time(f"service{number}", spine, "t").to_pylist():
        g = int(row["t"].timestamp()) * 1_000_000 // HOUR * HOUR
        own = [{**event, "x": float(event["x"])} for event in [*events, *later] if event["k"] == 1]
        expected = len(oracle.window(own, g, 3 * HOUR)) if any(event["t"] < g for event in own) else None
        assert row["n_3h"] == expected, (row, g)
        if unbounded and expected is not None:
            check_unbounded(row, own, g)
