"""Windowed aggregates against the brute-force oracle, over random events and intervals."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import FeatureView
from tests import oracle
from tests.compiler.computing import HOUR, LENGTHS, TOGETHER, Row, computer, make_view
from tests.thorough import choose

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


def compute(tmp: Path, view: FeatureView, events: list[Row], lower: int, upper: int, threads: int = 1) -> list[Row]:
    with computer(tmp, view, events, threads) as at:
        rows = at.rows(lower, upper, lower - 25 * HOUR)
    assert rows is not None
    return rows


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-6)
    return bool(found == expected)


@pytest.mark.slow
@settings(max_examples=choose(20, thorough=200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    functions=st.sampled_from(TOGETHER),
    events=EVENTS,
    created=st.booleans(),
    whole=st.booleans(),
    lower=st.integers(-12, 20),
    hours=st.integers(0, 30),
)
def test_every_aggregation_equals_a_full_recomputation_at_every_grid_point(
    tmp_path: Path, functions: tuple[str, ...], events: list[dict[str, Any]], created: bool, whole: bool, lower: int, hours: int
) -> None:
    view = make_view(created, functions=functions)
    low, high = (-100 * HOUR, 100 * HOUR) if whole else (lower * HOUR - 5, (lower + hours) * HOUR + 5)
    rows_by_key = {(row["k"], row["j"], row["feature_timestamp"]): row for row in compute(tmp_path, view, events, low, high)}
    if not created:
        # A view that does not read the created time orders events of one moment by their values.
        events = [{**event, "c": None} for event in events]
    keys = {(event["k"], event["j"]) for event in events if event["k"] is not None}
    expected = set()
    for key in keys:
        own = [event for event in events if (event["k"], event["j"]) == key]
        for g in oracle.grid_points(own, HOUR, LENGTHS.values()):
            if low <= g <= high:
                expected.add((*key, g))
                check_row(rows_by_key[(*key, g)], functions, own, g, created)
    assert set(rows_by_key) == expected


def check_row(row: dict[str, Any], functions: tuple[str, ...], events: list[dict[str, Any]], g: int, created: bool) -> None:
    for label, length in LENGTHS.items():
        inside = oracle.window(events, g, length)
        assert row[f"rows_{label}"] == len(inside)
        for function in functions:
            expected = oracle.aggregate(function, inside, n=2, q=0.3)
            assert close(row[f"{function}_{label}"], expected), (function, label, g, row[f"{function}_{label}"], expected)
    kept = [event for event in oracle.window(events, g, LENGTHS["3h"]) if event["keep"]]
    for function in functions:
        assert close(row[f"{function}_kept_3h"], oracle.aggregate(function, kept, n=2, q=0.3)), function
    times = [event["c"] for event in oracle.window(events, g, LENGTHS["1d"]) if event["c"] is not None]
    assert row["created_timestamp"] == (max([g, *times]) if created else None)


def test_an_event_at_a_grid_point_is_outside_the_window_that_ends_there(tmp_path: Path) -> None:
    events = [{"k": "a", "j": 1, "t": 5 * HOUR, "c": None, "x": 1.0, "keep": True}]
    rows = {
        row["feature_timestamp"] // HOUR: row["rows_1h"] for row in compute(tmp_path, make_view(False, functions=[]), events, 0, 100 * HOUR)
    }
    assert rows == {6: 1, 7: 0, 9: 0, 30: 0}


@pytest.mark.parametrize("x,sum_is", [(math.inf, math.inf), (-math.inf, -math.inf), (1e300, 1e300), (5e-324, 5e-324)])
def test_sums_take_what_doubles_hold(tmp_path: Path, x: float, sum_is: float) -> None:
    events = [{"k": "a", "j": 1, "t": 0, "c": None, "x": x, "keep": True}]
    (first,) = compute(tmp_path, make_view(False, functions=["sum"]), events, 0, HOUR)
    assert first["sum_1h"] == sum_is
