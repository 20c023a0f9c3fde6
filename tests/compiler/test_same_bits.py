"""The same events give bit-identical results with every plan, number of threads and interval of a run."""

import math
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.compiler.computing import ANY, FUNCTIONS, HOUR, NARROW, TOGETHER, WIDE, Row, computer, make_view
from tests.thorough import choose

LOW, HIGH = -20 * HOUR, 60 * HOUR
SUMS = ("sum", "mean")
MAGNITUDES = st.builds(
    lambda digits, exponent, sign: sign * digits * 10.0**exponent, st.floats(1, 10), st.integers(-320, 300), st.sampled_from([1, -1])
)
DOUBLES = (
    st.sampled_from(
        [0.0, -0.0, 0.1, 0.2, 0.3, 2.0**39, 2.0**40, -(2.0**40) + 0.5, 2.0**86, 5e-324, 1e308, -1e308, math.inf, -math.inf, math.nan]
    )
    | st.integers(-1000, 1000).map(lambda cents: cents / 100)
    | MAGNITUDES
    | st.floats()
)


def events_of(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[Row]]:
    event = {
        "k": st.sampled_from(["a", "b"]),
        "j": st.just(1),
        "t": st.integers(-10 * 4, 20 * 4).map(lambda quarter: quarter * HOUR // 4),
        "c": st.none() | st.sampled_from([0, HOUR]),
        "x": values,
        "keep": st.booleans(),
    }
    return st.lists(st.fixed_dictionaries(event), max_size=16)


def one_after_the_other(values: list[float]) -> list[Row]:
    return [{"k": "a", "j": 1, "t": t, "c": None, "x": x, "keep": True} for t, x in enumerate(values)]


def bits(value: Any) -> Any:
    """What tells two values apart wherever their bits differ; there is one NaN."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return [bits(item) for item in value] if isinstance(value, list) else value


def exactly(rows: list[Row] | None) -> list[dict[str, Any]]:
    assert rows is not None
    return [{name: bits(value) for name, value in row.items()} for row in rows]


@pytest.mark.slow
@settings(max_examples=choose(5, thorough=50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    functions=st.sampled_from(TOGETHER),
    events=events_of(DOUBLES) | events_of(st.floats(-1e6, 1e6)),
    created=st.booleans(),
    cut=st.integers(-12, 45),
    order=st.randoms(use_true_random=False),
)
@example(FUNCTIONS, one_after_the_other([2.0**40, -0.5]), False, 0, random.Random(0))
@example(FUNCTIONS, one_after_the_other([0.0, -0.0]), False, 0, random.Random(0))
def test_every_plan_gives_the_same_bits(
    tmp_path: Path, functions: tuple[str, ...], events: list[Row], created: bool, cut: int, order: random.Random
) -> None:
    view, reach = make_view(created, functions=functions), LOW - 25 * HOUR
    with computer(tmp_path, view, events) as at:
        whole = exactly(at.rows(LOW, HIGH, reach))
        for shortcuts in (NARROW, WIDE):
            found = at.rows(LOW, HIGH, reach, shortcuts)
            assert found is None or exactly(found) == whole
        middle = cut * HOUR
        parts = [at.rows(LOW, middle, reach), at.rows(middle + 1, HIGH, middle - 25 * HOUR)]
        divided = [row for part in parts for row in exactly(part)]
        assert sorted(divided, key=lambda row: (row["k"], row["feature_timestamp"])) == whole
        points = sorted({row["feature_timestamp"] for row in whole})
        for point in {middle, *order.sample(points, min(2, len(points)))}:
            for shortcuts in (ANY, WIDE, NARROW):
                found = at.rows_at(point, point - 26 * HOUR, shortcuts)
                if found is not None or shortcuts is ANY:
                    assert exactly(found) == [row for row in whole if row["feature_timestamp"] == point]
    with computer(tmp_path, view, order.sample(events, len(events)), threads=2) as at:
        assert exactly(at.rows(LOW, HIGH, reach)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_threads_and_the_order_of_many_events_change_no_bit(tmp_path: Path, scale: float) -> None:
    values = [math.sin(i) * 10.0 ** (i % 17 - 6) * scale for i in range(1_500)]
    events = [{"k": "ab"[i % 2], "j": 1, "t": i * 40_000_000, "c": None, "x": x, "keep": i % 3 == 0} for i, x in enumerate(values)]
    found = []
    for threads, given_events in ((1, events), (2, events[::-1]), (4, events[1::2] + events[::2])):
        with computer(tmp_path, make_view(False), given_events, threads) as at:
            found.append(exactly(at.rows(0, 20 * HOUR, 0)))
            narrow = at.rows(0, 20 * HOUR, 0, NARROW)
            assert (narrow is None) == (scale > 1)
            found.append(exactly(narrow or at.rows(0, 20 * HOUR, 0)))
    assert all(rows == found[0] for rows in found)
    first = next(row for row in found[0] if row["feature_timestamp"] == HOUR and row["k"] == "a")
    assert struct.unpack("d", first["sum_1h"])[0] == pytest.approx(math.fsum(values[0:90:2]), rel=1e-14)


@pytest.mark.parametrize(
    "values,total",
    [
        ([math.inf, -math.inf], math.nan),
        ([math.inf, 1.0], math.inf),
        ([-1e308, -1e308, math.inf], math.inf),
        ([math.nan, 1e300], math.nan),
        ([1e300, 1.0, -1e300], 1.0),
        ([1e300, 1e-300, -1e300], 1e-300),
        ([9.1093837e-31], 9.1093837e-31),
        ([5e-324, 5e-324], 1e-323),
    ],
)
def test_what_a_sum_of_extremes_is(tmp_path: Path, values: list[float], total: float) -> None:
    events = [{"k": "a", "j": 1, "t": i * 20 * 60_000_000, "c": None, "x": x, "keep": True} for i, x in enumerate(values)]
    with computer(tmp_path, make_view(False, functions=SUMS), events) as at:
        (row,) = [row for row in at.rows(0, 2 * HOUR, 0) or [] if row["feature_timestamp"] == HOUR]
        (alone,) = at.rows_at(HOUR, -HOUR * 30) or []
    assert bits(row["sum_1h"]) == bits(row["sum_1d"]) == bits(alone["sum_3h"]) == bits(total)


@pytest.mark.slow
@settings(max_examples=choose(5, thorough=60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(DOUBLES.filter(math.isfinite) | st.integers(-60, 60).map(lambda n: n * 5e-324), min_size=1, max_size=12))
@example([9.1093837e-31])
@example([1.2345678901234567e-20, 1.2345678901234567e-12, 1e22, -1e22])
@example([5e-324, 2.0**-1022, -(2.0**1023), 2.0**1023])
@example([2.0**53, 1.0, 2.0**-1000])
@example([2.0**53, 1.0, -(2.0**-1000)])
@example([1e308, 1e308])
@example([-1e308, -1e308])
def test_sums_are_the_nearest_doubles_at_every_magnitude(tmp_path: Path, values: list[float]) -> None:
    events = [{"k": "a", "j": 1, "t": i * 60_000_000, "c": None, "x": x, "keep": True} for i, x in enumerate(values)]
    with computer(tmp_path, make_view(False, lengths=("1h", "1d"), functions=SUMS), events) as at:
        (row,) = [row for row in at.rows(0, HOUR, 0) or [] if row["feature_timestamp"] == HOUR]
        (alone,) = at.rows_at(HOUR, -HOUR * 30) or []
    exact = sum(map(Fraction, values), Fraction(0))
    try:
        nearest = float(exact)
    except OverflowError:
        nearest = math.inf if exact > 0 else -math.inf
    total = row["sum_1h"]
    assert bits(alone["sum_1d"]) == bits(total)
    extreme = any(value and not 2.0**-34 <= abs(value) < 2.0**86 for value in values)
    # Where all values are ordinary, a sum is made a double by DuckDB, which may round twice.
    assert total == nearest or (not extreme and total in (math.nextafter(nearest, s * math.inf) for s in (1, -1)))
    assert math.copysign(1, total) == 1 or exact < 0
    assert bits(row["mean_1h"]) == bits(total / len(values) + 0.0)
