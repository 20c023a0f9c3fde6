"""Windows that end at the instant of the question, against the brute-force oracle, wherever a run starts."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Entity, FeatureView, Source, agg
from featurestore.compiler.check import view_problems
from featurestore.compiler.fingerprint import view_fingerprint
from tests import oracle
from tests.compiler.computing import ANY, NARROW, WIDE, Row, computer
from tests.compiler.test_windows_oracle import close
from tests.thorough import choose

SECOND = 1_000_000
LENGTHS = {"1s": SECOND, "3s": 3 * SECOND}
FUNCTIONS = ("count", "sum", "mean", "min", "last", "count_distinct", "percentile")
PLACES = st.sampled_from([0, 1, SECOND - 1, SECOND, SECOND + 1, 2 * SECOND, 3 * SECOND, 3 * SECOND + 1]) | st.integers(0, 6 * SECOND)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.sampled_from("ab"),
            "j": st.just(1),
            "t": PLACES,
            "c": st.none() | st.integers(0, 9 * SECOND),
            "x": st.none() | st.sampled_from([0.5, -1.25, 3.0, -0.0, 1e-30]),
            "keep": st.booleans(),
        }
    ),
    max_size=14,
)


def make_view(created: bool = False, every: str = "continuous", limit: int | None = None) -> FeatureView:
    features: dict[str, Any] = {"rows": agg.count(over=list(LENGTHS)), "life": agg.sum("x", over="all"), "recent": agg.sum("x", last=2)}
    for function in FUNCTIONS:
        extra: dict[str, Any] = {"q": 0.3} if function == "percentile" else {}
        features[function] = getattr(agg, function)("x", over=list(LENGTHS), **extra)
        features[f"{function}_kept"] = getattr(agg, function)("x", over="3s", where="keep", **extra)
    source = Source("s", table="raw.s", timestamp="t", created="c" if created else None)
    return FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every=every, features=features, limit=limit)


def check_row(row: Row, own: list[Row], g: int, limit: int | None = None) -> None:
    for label, length in LENGTHS.items():
        inside = oracle.limited(own, g, length, limit or len(own))
        assert row[f"rows_{label}"] == len(inside), (label, g)
        for function in FUNCTIONS:
            assert close(row[f"{function}_{label}"], oracle.aggregate(function, inside, q=0.3)), (function, label, g)
    kept = [event for event in oracle.limited(own, g, LENGTHS["3s"], limit or len(own)) if event["keep"]]
    for function in FUNCTIONS:
        assert close(row[f"{function}_kept_3s"], oracle.aggregate(function, kept, q=0.3)), (function, g)
    assert close(row["life_all"], oracle.aggregate("sum", oracle.window(own, g, None)))
    assert close(row["recent_last2"], oracle.aggregate("sum", oracle.latest(own, g, 2)))


@pytest.mark.slow
@settings(max_examples=choose(12, thorough=200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, created=st.booleans(), cuts=st.lists(PLACES, max_size=2), limit=st.none() | st.integers(1, 6))
def test_rows_are_those_of_every_change(tmp_path: Path, events: list[Row], created: bool, cuts: list[int], limit: int | None) -> None:
    bounds = sorted({-SECOND, 20 * SECOND, *cuts})
    found: list[Row] = []
    with computer(tmp_path, make_view(created, limit=limit), events) as at:
        for lower, upper in pairwise(bounds):
            found += next(rows for way in (NARROW, WIDE, ANY) if (rows := at.rows(lower, upper - 1, -20 * SECOND, way)) is not None)
    computed = {(row["k"], row["feature_timestamp"]): row for row in found}
    if not created:
        events = [{**event, "c": None} for event in events]
    expected = set()
    for key in {event["k"] for event in events}:
        own = [event for event in events if event["k"] == key]
        for g in oracle.grid_points(own, 1, LENGTHS.values()):
            expected.add((key, g))
            check_row(computed[(key, g)], own, g, limit)
    assert set(computed) == expected


def test_an_event_counts_from_the_microsecond_after_it_to_the_end_of_its_window(tmp_path: Path) -> None:
    source = Source("s", table="raw.s", timestamp="t")
    features = {"n": agg.count(over="1s"), "total": agg.sum("x", over="1s"), "kinds": agg.count_distinct("x", over="1s")}
    view = FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every="continuous", features=features)
    # The second event comes as the first leaves; the third while the second is in the window.
    times = (0, SECOND, SECOND + 7)
    events = [{"k": "a", "j": 1, "t": t, "c": None, "x": 2.0, "keep": True} for t in times]
    with computer(tmp_path, view, events) as at:
        rows = at.rows(-SECOND, 9 * SECOND, -9 * SECOND)
        # A run that starts where the first event has left.
        later = at.rows(SECOND + 1, 9 * SECOND, -9 * SECOND)
    assert rows is not None
    assert [(row["feature_timestamp"], row["n_1s"], row["total_1s"], row["kinds_1s"]) for row in rows] == [
        (1, 1, 2.0, 1),
        (SECOND + 1, 1, 2.0, 1),
        (SECOND + 8, 2, 4.0, 1),
        (2 * SECOND + 1, 1, 2.0, 1),
        (2 * SECOND + 8, 0, None, 0),
    ]
    assert later == rows[1:]


def test_a_continuous_view_is_another_version_and_its_name_is_suggested() -> None:
    assert view_fingerprint(make_view()) != view_fingerprint(make_view(every="1s"))
    assert not list(view_problems(make_view()))
    messages = [problem.message for problem in view_problems(make_view(every="continous"))]
    assert any(message.endswith("or 'continuous'") for message in messages)
    assert view_fingerprint(make_view()) != view_fingerprint(make_view(limit=10))
    assert not list(view_problems(make_view(limit=10)))
    wrong = [*view_problems(make_view(every="1s", limit=10)), *view_problems(make_view(limit=0))]
    assert [problem.field for problem in wrong] == ["limit", "limit"]
