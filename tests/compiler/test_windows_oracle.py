"""Windowed aggregates against the brute-force oracle, over random events and intervals."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Entity, FeatureView, Settings, Source, agg
from featurestore.compiler.events import SOURCE, compile_events
from featurestore.compiler.expressions import quoted
from featurestore.compiler.grid import EXTRA_POINTS, GRID
from featurestore.compiler.views import ROWS, compile_view
from featurestore.engine.duck import DuckEngine
from tests import oracle

HOUR = 3_600_000_000
LENGTHS = {"1h": HOUR, "3h": 3 * HOUR, "1d": 24 * HOUR}
FUNCTIONS = ("count", "count_distinct", "sum", "mean", "min", "max", "stddev", "percentile", "first", "last", "last_n")
PLACES = st.sampled_from([0, 1, HOUR - 1, HOUR, HOUR + 1, 3 * HOUR, 24 * HOUR, 25 * HOUR]) | st.integers(0, 30 * HOUR)
NUMBERS = st.none() | st.integers(-3, 3).map(float) | st.floats(-1e12, 1e12, allow_nan=False)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from(["a", "b", "ab", None]),
            "j": st.sampled_from([1, 2]),
            "t": PLACES.map(lambda place: place - 10 * HOUR),
            "c": st.none() | st.integers(0, 40 * HOUR),
            "x": NUMBERS,
            "keep": st.booleans(),
        }
    ),
    max_size=14,
)


def make_view(created: bool) -> FeatureView:
    features: dict[str, Any] = {"rows": agg.count(over=list(LENGTHS))}
    for function in FUNCTIONS:
        extra: dict[str, Any] = {"n": 2} if function == "last_n" else {"q": 0.3} if function == "percentile" else {}
        features[function] = getattr(agg, function)("x", over=list(LENGTHS), **extra)
        features[f"{function}_kept"] = getattr(agg, function)("x", over="3h", where="keep", **extra)
    source = Source("s", table="raw.s", timestamp="t", created="c" if created else None)
    return FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every="1h", features=features)


def compute(
    tmp: Path, view: FeatureView, events: list[dict[str, Any]], variables: dict[str, int | bool], threads: int = 1
) -> list[dict[str, Any]]:
    stamp = pa.timestamp("us", tz="UTC")
    schema = pa.schema([("k", pa.string()), ("j", pa.int64()), ("t", stamp), ("c", stamp), ("x", pa.float64()), ("keep", pa.bool_())])
    with DuckEngine(Settings(home=tmp, threads=threads)).session() as session:
        session.add(SOURCE, pa.Table.from_pylist(events, schema))
        compiled_events = compile_events(view, schema.names)
        session.set(variables)
        compiled = compile_view(view, compiled_events, session.schema(compiled_events.sql))
        session.run(
            f"CREATE TEMP TABLE {EXTRA_POINTS} AS SELECT NULL::VARCHAR AS k, NULL::BIGINT AS j, NULL::BIGINT AS {quoted(GRID)} WHERE false"
        )
        for name, select in compiled.steps:
            session.run(f"CREATE TEMP TABLE {name} AS {select}")
        times = ", ".join(f"epoch_us({name}) AS {name}" for name in ("feature_timestamp", "created_timestamp"))
        table = session.batches(f"SELECT * REPLACE ({times}) FROM {ROWS}").read_all()
        return [dict(row) for row in table.to_pylist()]


def close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-6)
    return bool(found == wanted)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, created=st.booleans(), whole=st.booleans(), lower=st.integers(-12, 20), hours=st.integers(0, 30))
def test_every_aggregation_equals_a_full_recomputation_at_every_grid_point(
    tmp_path: Path, events: list[dict[str, Any]], created: bool, whole: bool, lower: int, hours: int
) -> None:
    view = make_view(created)
    low, high = (-100 * HOUR, 100 * HOUR) if whole else (lower * HOUR - 5, (lower + hours) * HOUR + 5)
    reach = low - 25 * HOUR
    variables: dict[str, int | bool] = {"lower": low, "upper": high, "events_lower": reach, "events_upper": high, "carry_in": False}
    found = {(row["k"], row["j"], row["feature_timestamp"]): row for row in compute(tmp_path, view, events, variables)}
    if not created:
        # A view that does not read the created time orders events of one moment by their values.
        events = [{**event, "c": None} for event in events]
    keys = {(event["k"], event["j"]) for event in events if event["k"] is not None}
    wanted = set()
    for key in keys:
        own = [event for event in events if (event["k"], event["j"]) == key]
        for g in oracle.grid_points(own, HOUR, LENGTHS.values()):
            if low <= g <= high:
                wanted.add((*key, g))
                check_row(found[(*key, g)], own, g, created)
    assert set(found) == wanted


def check_row(row: dict[str, Any], events: list[dict[str, Any]], g: int, created: bool) -> None:
    for label, length in LENGTHS.items():
        inside = oracle.window(events, g, length)
        assert row[f"rows_{label}"] == len(inside)
        for function in FUNCTIONS:
            wanted = oracle.aggregate(function, inside, n=2, q=0.3)
            assert close(row[f"{function}_{label}"], wanted), (function, label, g, row[f"{function}_{label}"], wanted)
    kept = [event for event in oracle.window(events, g, LENGTHS["3h"]) if event["keep"]]
    for function in FUNCTIONS:
        assert close(row[f"{function}_kept_3h"], oracle.aggregate(function, kept, n=2, q=0.3)), function
    times = [event["c"] for event in oracle.window(events, g, LENGTHS["1d"]) if event["c"] is not None]
    assert row["created_timestamp"] == (max([g, *times]) if created else None)


def test_an_event_at_a_grid_point_is_outside_the_window_that_ends_there(tmp_path: Path) -> None:
    events = [{"k": "a", "j": 1, "t": 5 * HOUR, "c": None, "x": 1.0, "keep": True}]
    variables: dict[str, int | bool] = {"lower": 0, "upper": 100 * HOUR, "events_lower": 0, "events_upper": 100 * HOUR, "carry_in": False}
    rows = {row["feature_timestamp"] // HOUR: row["rows_1h"] for row in compute(tmp_path, make_view(False), events, variables)}
    assert rows == {6: 1, 7: 0, 9: 0, 30: 0}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_sums_of_doubles_do_not_depend_on_threads_or_order(tmp_path: Path, threads: int) -> None:
    values = [math.sin(i) * 10.0 ** (i % 17 - 6) for i in range(20_000)]
    events = [{"k": "a", "j": 1, "t": i * 1000, "c": None, "x": x, "keep": True} for i, x in enumerate(values)]
    variables: dict[str, int | bool] = {"lower": 0, "upper": 2 * HOUR, "events_lower": 0, "events_upper": 2 * HOUR, "carry_in": False}
    forward = compute(tmp_path, make_view(False), events, variables, threads)
    backward = compute(tmp_path, make_view(False), events[::-1], variables, threads)
    assert sorted(map(str, forward)) == sorted(map(str, backward))
    (first,) = [row for row in forward if row["feature_timestamp"] == HOUR]
    assert first["sum_1h"] == pytest.approx(math.fsum(values), rel=1e-15)


@pytest.mark.parametrize("x,sum_is", [(math.inf, math.inf), (-math.inf, -math.inf), (1e300, 1e300), (5e-324, 0.0)])
def test_sums_take_what_doubles_hold(tmp_path: Path, x: float, sum_is: float) -> None:
    events = [{"k": "a", "j": 1, "t": 0, "c": None, "x": x, "keep": True}]
    variables: dict[str, int | bool] = {"lower": 0, "upper": HOUR, "events_lower": 0, "events_upper": HOUR, "carry_in": False}
    (first,) = compute(tmp_path, make_view(False), events, variables)
    assert first["sum_1h"] == sum_is
