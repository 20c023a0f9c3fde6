"""Windows over the whole history and over a number of rows against the brute-force oracle, in one run and in runs that continue."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Entity, FeatureView, Source, agg
from featurestore.compiler.check import view_problems
from featurestore.compiler.check_service import expanded_names
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import view_fingerprint
from featurestore.dsl import documents
from featurestore.dsl.agg import Aggregation
from tests import oracle
from tests.compiler.computing import ANY, HOUR, NARROW, TOGETHER, WIDE, Computer, Row, computer
from tests.compiler.test_windows_oracle import EVENTS, close
from tests.thorough import choose

ROWS = (1, 3)


def make_view(created: bool, functions: tuple[str, ...], timed: bool) -> FeatureView:
    """Each function over the whole history, the latest rows, and those where `keep` holds; `timed`: also over three hours."""
    features: dict[str, Any] = {"rows": agg.count(over="all"), "rows_last": agg.count(last=3)}
    for function in functions:
        extra: dict[str, Any] = {"n": 2} if function == "last_n" else {"q": 0.3} if function == "percentile" else {}
        make = getattr(agg, function)
        features[function] = make("x", over=["all", "3h"] if timed else "all", **extra)
        features[f"{function}_kept"] = make("x", over="all", where="keep", **extra)
        if function == "last_n":
            features["sequence"] = make("x", **extra)
        else:
            features[f"{function}_of"] = make("x", last=ROWS, **extra)
            features[f"{function}_of_kept"] = make("x", last=2, where="keep", **extra)
    source = Source("s", table="raw.s", timestamp="t", created="c" if created else None)
    return FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every="1h", features=features)


def expected_row(functions: tuple[str, ...], own: list[Row], g: int, timed: bool) -> Row:
    """The features at a grid point."""
    kept = [event for event in own if event["keep"]]
    everything, everything_kept = oracle.window(own, g, None), oracle.window(kept, g, None)
    row: Row = {"rows_all": len(everything), "rows_last_last3": min(3, len(everything))}
    for function in functions:

        def value(events: list[Any], function: str = function) -> Any:
            return oracle.aggregate(function, events, n=2, q=0.3)

        row[f"{function}_all"], row[f"{function}_kept_all"] = value(everything), value(everything_kept)
        if timed:
            row[f"{function}_3h"] = value(oracle.window(own, g, 3 * HOUR))
        if function == "last_n":
            row["sequence"] = value(everything)
        else:
            row.update({f"{function}_of_last{rows}": value(oracle.latest(own, g, rows)) for rows in ROWS})
            row[f"{function}_of_kept_last2"] = value(oracle.latest(kept, g, 2))
    return row


def compute(at: Computer, bounds: list[int]) -> list[Row]:
    """The rows of consecutive spans that begin at these times, each in the way of summing that is tried first and fits."""
    found: list[Row] = []
    for lower, upper in pairwise(bounds):
        rows = next(rows for way in (NARROW, WIDE, ANY) if (rows := at.rows(lower, upper - 1, -100 * HOUR, way)) is not None)
        found += rows
    return found


@pytest.mark.slow
@settings(max_examples=choose(16, thorough=200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    functions=st.sampled_from(TOGETHER),
    events=EVENTS,
    created=st.booleans(),
    timed=st.booleans(),
    cuts=st.lists(st.integers(-12, 24), max_size=2),
)
def test_values_are_those_of_all_earlier_events_wherever_a_run_starts(
    tmp_path: Path, functions: tuple[str, ...], events: list[Row], created: bool, timed: bool, cuts: list[int]
) -> None:
    bounds = sorted({-100 * HOUR, 100 * HOUR, *(cut * HOUR + 5 for cut in cuts)})
    with computer(tmp_path, make_view(created, functions, timed), events) as at:
        computed = {(row["k"], row["j"], row["feature_timestamp"]): row for row in compute(at, bounds)}
    if not created:
        events = [{**event, "c": None} for event in events]
    expected = set()
    for key in {(event["k"], event["j"]) for event in events if event["k"] is not None}:
        own = [event for event in events if (event["k"], event["j"]) == key]
        for g in oracle.grid_points(own, HOUR, [3 * HOUR] if timed else []):
            expected.add((*key, g))
            row = computed[(*key, g)]
            for name, value in expected_row(functions, own, g, timed).items():
                assert close(row[name], value), (name, g, row[name], value)
            times = [event["c"] for event in oracle.window(own, g, None) if event["c"] is not None]
            assert row["created_timestamp"] == (max([g, *times]) if created else None)
    assert set(computed) == expected


def event(t: int, x: float | None, c: int | None = None) -> Row:
    return {"k": "a", "j": 1, "t": t, "c": c, "x": x, "keep": True}


def test_a_window_of_rows_is_known_when_its_rows_are(tmp_path: Path) -> None:
    source = Source("s", table="raw.s", timestamp="t", created="c")
    entity = Entity("e", keys=["k", "j"])
    view = FeatureView(
        "v", entity=entity, source=source, every="1h", features={"total": agg.sum("x", last=2), "items": agg.last_n("x", n=2)}
    )
    # The first event became known after the others; a window that no longer has it does not wait for it.
    events = [event(0, 1.0, 90 * HOUR), event(HOUR, 2.0, HOUR), event(2 * HOUR, 3.0, 2 * HOUR), event(3 * HOUR, None, 50 * HOUR)]
    with computer(tmp_path, view, events) as at:
        rows = at.rows(-HOUR, 9 * HOUR, -9 * HOUR)
    assert rows is not None
    assert [row["total_last2"] for row in rows] == [1.0, 3.0, 5.0, 3.0]
    assert [row["items"] for row in rows] == [[1.0], [2.0, 1.0], [3.0, 2.0], [3.0, 2.0]]
    assert [row["created_timestamp"] // HOUR for row in rows] == [90, 90, 3, 50]


@pytest.mark.parametrize("x", [math.inf, 5e-324])
def test_sums_of_rows_take_what_doubles_hold(tmp_path: Path, x: float) -> None:
    view = make_view(False, ("sum", "mean"), False)
    events = [event(0, x), event(HOUR, 1.0), event(2 * HOUR, 2.0), event(3 * HOUR, 4.0)]
    with computer(tmp_path, view, events) as at:
        assert at.rows(-HOUR, 9 * HOUR, -9 * HOUR, NARROW) is None
        rows = at.rows(-HOUR, 9 * HOUR, -9 * HOUR)
    assert rows is not None
    assert [row["sum_of_last3"] for row in rows] == [x, x + 1.0, x + 3.0, 7.0]
    assert rows[3]["sum_all"] == x + 7.0


def declare(features: dict[str, Any]) -> FeatureView:
    source = Source("s", table="raw.s", timestamp="t")
    return FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every="1h", features=features)


def test_features_are_named_after_their_windows() -> None:
    features = {"total": agg.sum("x", over=["3h", "all"]), "mean": agg.mean("x", last=[1, 10]), "items": agg.last_n("x", n=50)}
    view = declare(features)
    assert feature_names(view) == expanded_names(view) == ("total_3h", "total_all", "mean_last1", "mean_last10", "items")


def test_windows_of_time_keep_their_documents_and_fingerprints() -> None:
    view = declare({"total": agg.sum("x", over="3h")})
    aggregation = documents.document(view)["features"]["total"]["aggregation"]
    assert aggregation == {"function": "sum", "column": "x", "over": ["3h"], "where": None, "n": None, "q": None}
    assert view_fingerprint(view) == "6c3ee0b441b36671"


def test_documents_and_fingerprints_tell_windows_apart() -> None:
    views = [
        declare({"x": agg.last_n("x", n=2)}),
        declare({"x": agg.last_n("x", n=3)}),
        declare({"x": agg.last_n("x", n=2, over="all")}),
        declare({"x": agg.sum("x", over="all")}),
        declare({"x": agg.sum("x", last=2)}),
        declare({"x": agg.sum("x", last=[2, 3])}),
    ]
    assert len({view_fingerprint(view) for view in views}) == len(views)
    for view in views:
        read = documents.view(json.loads(json.dumps(documents.document(view))))
        assert read == view
        assert view_fingerprint(read) == view_fingerprint(view)


@pytest.mark.parametrize(
    "aggregation, message",
    [
        (agg.sum("x"), "has no window; give over=, such as '7d' or 'all', or last=, a number of rows"),
        (agg.sum("x", over="3h", last=2), "has over= and last=; give one of them, and declare two features for both"),
        (agg.sum("x", last=0), "last=0 must be a whole number from 1 to 1000"),
        (agg.sum("x", last=1001), "last=1001 must be a whole number from 1 to 1000"),
        (agg.sum("x", last="7"), "last='7' must be a whole number from 1 to 1000"),  # type: ignore[arg-type]
        (agg.sum("x", last=True), "last=True must be a whole number from 1 to 1000"),
        (agg.sum("x", last=[2, 2]), "last=[2, 2] names a window twice"),
        (agg.sum("x", last=[]), "last= is empty; name at least one window, such as last=10"),
        (agg.last_n("x", n=2, over=[]), "over= is empty; name at least one window, such as over='7d'"),
        (agg.last_n("x", n=1001), "n=1001 is more than 1000, the most over the whole history"),
        (Aggregation("last_n", "x", n=2, last=[3]), "agg.last_n takes the number of rows as n=, not as last="),
        (
            agg.sum("x", over="al"),
            "over='al' is not a duration; write a whole number and one of s, m, h, d, w, such as '15m' or '7d', or 'all'",
        ),
    ],
)
def test_a_wrong_window_is_named(aggregation: Aggregation, message: str) -> None:
    messages = [problem.message for problem in view_problems(declare({"f": aggregation}))]
    assert message in messages
