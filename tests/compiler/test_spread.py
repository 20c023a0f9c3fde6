"""Standard deviations are exact to the last digits of a double, for every type and magnitude."""

import math
import statistics
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.compiler.spread import stddev_input, stddev_sql


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def of(engine: duckdb.DuckDBPyConnection, kind: str, values: list[Any]) -> float | None:
    sql = stddev_sql(f"list_sort(list({stddev_input('v', kind)}))", kind)
    row = engine.execute(f"SELECT {sql} FROM (SELECT unnest(?)::{kind} AS v) WHERE v IS NOT NULL", [values]).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def exact(values: list[Any]) -> float:
    """The root of the exact variance, to 60 digits, as the nearest double."""
    variance = statistics.variance([Fraction(value) for value in values])
    return math.sqrt(variance) if 1e-300 < variance < 1e300 else float(Fraction(math.isqrt(int(variance * 10**1400)), 10**700))


@pytest.mark.parametrize(
    "kind, values",
    [
        ("DECIMAL(22,2)", ["12345678901234567890.01", "12345678901234567890.02", "12345678901234567890.03"]),
        ("DECIMAL(38,10)", ["1234567890123456789012345678.0000000001", "1234567890123456789012345678.0000000002"]),
        ("DECIMAL(38,0)", ["9" * 38, "-" + "9" * 38]),
        ("DECIMAL(38,38)", ["0." + "9" * 38, "-0." + "9" * 38, "0"]),
        ("DECIMAL(4,1)", ["999.9", "-999.9", "0.1"]),
        ("BIGINT", [2**60, 2**60 + 1, 2**60 + 2]),
        ("BIGINT", [2**63 - 1, -(2**63), 0]),
        ("UBIGINT", [2**64 - 1, 0]),
        ("HUGEINT", [2**126, 2**126 + 1]),
        ("HUGEINT", [2**127 - 1, -(2**127) + 1]),
        ("INTEGER", [1, 2, 4]),
        ("DOUBLE", [1e15, 1e15 + 1, 1e15 + 2]),
        ("DOUBLE", [1e200, -1e200, 1.0]),
        ("DOUBLE", [1e308, -1e308]),
        ("DOUBLE", [1e300, 1e300, 1e300]),
        ("DOUBLE", [1e-200, 2e-200, 4e-200]),
        ("DOUBLE", [5e-324, 0.0]),
        ("DOUBLE", [0.1] * 10),
        ("BOOLEAN", [True, False, True]),
    ],
)
def test_every_type_at_its_ends(engine: duckdb.DuckDBPyConnection, kind: str, values: list[Any]) -> None:
    assert of(engine, kind, values) == pytest.approx(exact(values), rel=4e-16 * len(values), abs=5e-324)


def test_what_has_no_deviation(engine: duckdb.DuckDBPyConnection) -> None:
    for kind in ("DOUBLE", "INTEGER", "DECIMAL(5,2)", "BIGINT", "FLOAT"):
        assert of(engine, kind, []) is None
        assert of(engine, kind, [7]) is None
        assert of(engine, kind, [None, 7]) is None
    for values in (["inf", 1], ["nan", 1], ["inf", "-inf"], ["inf", "inf"]):
        spread = of(engine, "DOUBLE", values)
        assert spread is not None
        assert math.isnan(spread)
    assert of(engine, "DOUBLE", [1.7e308, -1.7e308]) == math.inf


@given(middle=st.integers(-(2**62), 2**62), apart=st.lists(st.integers(-1000, 1000), min_size=2, max_size=40))
def test_integers_that_agree_in_their_first_digits(engine: duckdb.DuckDBPyConnection, middle: int, apart: list[int]) -> None:
    spread = of(engine, "BIGINT", [middle + distance for distance in apart])
    assert spread == pytest.approx(exact([Fraction(distance) for distance in apart]) if len(set(apart)) > 1 else 0.0, rel=1e-14)


@given(values=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=30))
def test_doubles_of_any_magnitude(engine: duckdb.DuckDBPyConnection, values: list[float]) -> None:
    spread = of(engine, "DOUBLE", values)
    expected = exact(values) if len(set(values)) > 1 else 0.0
    assert spread == pytest.approx(expected, rel=1e-13, abs=5e-324)
