"""Different keys have different bytes, and keys encoded one by one are equal to those encoded by columns."""

from collections.abc import Hashable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.errors import TypeMismatch
from featurestore.online.keys import LIMIT, encode_key, encode_keys
from tests.thorough import choose

pd = pytest.importorskip("pandas")  # It has no types of its own.

ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))])
PARTS: st.SearchStrategy[Any] = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, -1, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**32, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]),
    st.text(),
    st.booleans(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.integers(-20, 20).map(lambda number: Decimal(number).scaleb(3)),
)
KEYS = st.lists(PARTS, min_size=1, max_size=3).map(tuple)


def meaning(part: Any) -> tuple[str, Hashable]:
    """The value of a key part, as plain Python equality distinguishes it."""
    if isinstance(part, bool | str | bytes | UUID):
        return type(part).__name__, part
    if isinstance(part, int | Decimal):
        return "number", Fraction(part)
    if isinstance(part, datetime):
        return "timestamp", part.replace(tzinfo=UTC) if part.tzinfo is None else part.astimezone(UTC)
    return "date", part


@pytest.mark.slow
@settings(deadline=None)
@given(KEYS, KEYS)
@example(("a", "bc"), ("ab", "c"))
@example((1,), ("1",))
@example((1,), (True,))
@example((1,), (b"1",))
@example((1, 2), ((1 << 8) + 2,))
@example((Decimal("1.0"),), (1,))
@example((Decimal("1.50"),), (Decimal("1.5"),))
@example((Decimal("1E+2"),), (Decimal("100.00"),))
@example((Decimal("-0.0"),), (0,))
@example((date(1970, 1, 1),), (datetime(1970, 1, 1, tzinfo=UTC),))
@example((date(1970, 1, 1),), (b"\0\0\0\0",))
@example(("a" * 1000, "b"), ("a" * 999, "ab"))
def test_keys_are_equal_exactly_when_they_mean_the_same(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    same = [meaning(part) for part in left] == [meaning(part) for part in right]
    assert (encode_key(left) == encode_key(right)) == same


@settings(deadline=None, max_examples=choose(30, 300))
@given(st.lists(PARTS, min_size=1, max_size=3))
def test_keys_stay_short_and_clear_of_a_store_s_own_keys(parts: list[Any]) -> None:
    encoded = encode_key(parts)
    assert encoded is not None
    assert len(encoded) <= LIMIT


COLUMNS: list[tuple[str, pa.DataType, st.SearchStrategy[Any]]] = [
    ("int", pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-70_000, 70_000)),
    ("int", pa.uint64(), st.integers(0, 2**64 - 1)),
    ("int", pa.int8(), st.integers(-128, 127)),
    ("string", pa.string(), st.text(max_size=400)),
    ("binary", pa.binary(), st.binary(max_size=400)),
    ("bool", pa.bool_(), st.booleans()),
    ("date", pa.date32(), st.dates()),
    ("timestamp", pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    ("decimal", pa.decimal128(38, 4), st.decimals(-(10**30), 10**30, places=4)),
]


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_columns_of_keys_are_encoded_as_single_keys_are(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3))
    rows = data.draw(st.lists(st.tuples(*[values for _, _, values in chosen]), min_size=1, max_size=20))
    arrays = [pa.array(values, type_) for values, (_, type_, _) in zip(zip(*rows, strict=True), chosen, strict=True)]
    names = [str(number) for number in range(len(chosen))]
    assert encode_keys(arrays, names, [kind for kind, _, _ in chosen]).to_pylist() == [encode_key(row) for row in rows]


@pytest.mark.parametrize("length", [31, 32, 255, 256, 480, 600, 70_000])
def test_columns_of_long_texts_are_encoded_as_single_keys_are(length: int) -> None:
    rows = ["x" * length, "", "é" * (length // 2)]
    assert encode_keys([pa.array(rows)], ["name"], ["string"]).to_pylist() == [encode_key((row,)) for row in rows]


def test_numpy_values_are_the_values_they_hold() -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    pairs = [(np.int32(5), 5), (np.str_("a"), "a"), (np.bool_(True), True), (np.datetime64("2020-01-01T00:00:00", "ns"), moment)]
    pairs.append((pd.Timestamp("2020-01-01"), moment))
    for value, plain in pairs:
        assert encode_key((value,)) == encode_key((plain,))


def test_a_key_with_a_none_part_is_no_key() -> None:
    assert encode_key((1, None)) is None
    assert encode_key((None, 1.5)) is None


@pytest.mark.parametrize("part", [1.0, pd.NaT, Decimal("NaN"), Decimal("Infinity"), [1], "\ud800"], ids=repr)
def test_what_cannot_be_a_key_is_refused(part: Any) -> None:
    with pytest.raises(TypeMismatch, match="cannot be part of a key"):
        encode_key((part,))
