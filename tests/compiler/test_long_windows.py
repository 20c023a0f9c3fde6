"""A long window on a fine grid: the number of rows and intermediate rows depends on the events, not on the grid."""

from dataclasses import replace
from pathlib import Path

import pytest

from featurestore.compiler.parameters import POINTS, TILES
from featurestore.compiler.relations import Handle
from tests import oracle
from tests.compiler.computing import HOUR, Row, computer, make_view

MINUTE, DAY = HOUR // 60, 24 * HOUR
LENGTHS = {"1m": MINUTE, "90d": 90 * DAY, "365d": 365 * DAY}
EVENTS: list[Row] = [
    {"k": "a", "j": i % 2, "t": i * i * 37 * HOUR % (400 * DAY) + i * 7, "c": None, "x": float(i * 31 % 17), "keep": i % 3 == 0}
    for i in range(120)
]


def test_a_year_of_minutes_is_computed_from_a_few_events(tmp_path: Path) -> None:
    view = make_view(False, "1m", tuple(LENGTHS))
    with computer(tmp_path, view, EVENTS) as at:
        rows = at.rows(0, 800 * DAY, 0)
        assert rows is not None
        made = {name: len(at.session.batches(Handle(name)).read_all()) for name in (TILES, POINTS)}
    rows_by_key = {(row["j"], row["feature_timestamp"]): row for row in rows}
    expected = {
        (j, g) for j in (0, 1) for g in oracle.grid_points([event for event in EVENTS if event["j"] == j], MINUTE, LENGTHS.values())
    }
    assert set(rows_by_key) == expected
    # A year has half a million minutes; an event makes one tile, and a point for each window that it leaves.
    assert made[TILES] <= len(EVENTS)
    assert made[POINTS] <= len(EVENTS) * (1 + len(LENGTHS))
    for (j, g), row in rows_by_key.items():
        for label, length in LENGTHS.items():
            inside = oracle.window([event for event in EVENTS if event["j"] == j], g, length)
            for function in ("count", "count_distinct", "sum", "last", "last_n"):
                assert row[f"{function}_{label}"] == oracle.aggregate(function, inside, n=2), (function, label, g)
            for function in ("stddev", "percentile"):
                exact = oracle.aggregate(function, inside, q=0.3)
                assert row[f"{function}_{label}"] == (None if exact is None else pytest.approx(exact)), (function, label, g)


@pytest.mark.slow
def test_one_key_with_many_events_needs_no_pair_of_event_and_point(tmp_path: Path) -> None:
    """Every window holds up to 20,000 events; their pairs with the points would be hundreds of millions of rows."""
    number = 20_000
    view = make_view(False, "1m", ("1m", "365d"))
    features = {name: feature for name, feature in view.declared.items() if not name.startswith("stddev")}
    events: list[Row] = [{"k": "a", "j": 1, "t": i * 5 * MINUTE, "c": None, "x": float(i % 1000), "keep": True} for i in range(number)]
    with computer(tmp_path, replace(view, features=features), events) as at:
        rows = at.rows(0, number * 5 * MINUTE, 0)
    assert rows is not None
    last = max(rows, key=lambda row: row["feature_timestamp"])
    assert (last["count_365d"], last["count_distinct_365d"], last["last_n_365d"]) == (number, 1000, [999.0, 998.0])
    assert last["percentile_365d"] == pytest.approx(299.7, abs=1)
