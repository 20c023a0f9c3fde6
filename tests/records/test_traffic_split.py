"""Records are assigned to the aliases of a split by a hash that is written down, so that every process and language agrees."""

import hashlib
import itertools
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import RequestError, TypeMismatch
from featurestore.records.traffic_split import PLACES, TrafficSplit, check_shadow, check_weights, place_of

KEYS = (("customer_id", "BIGINT"),)


def split(weights: dict[str, float], keys: tuple[tuple[str, str], ...] = KEYS) -> TrafficSplit:
    return TrafficSplit("churn", check_weights(weights), (), keys, {})


def test_known_digests() -> None:
    """As the page has them; they must never change, or every record may change its alias."""
    content = b"5:churn,2:42,"
    assert hashlib.sha256(content).hexdigest()[:16] == "8c583637b10bc119"
    assert place_of("churn", ["42"]) == int("8c583637b10bc119", 16) % 10_000 == 7513
    assert [place_of("churn", [str(key)]) for key in range(5)] == [5555, 7010, 8734, 3944, 1707]
    assert place_of("churn", ["Zoë"]) == int(hashlib.sha256("5:churn,4:Zoë,".encode()).hexdigest()[:16], 16) % 10_000
    assert place_of("churn", [None, "x"]) == int(hashlib.sha256(b"5:churn,-,1:x,").hexdigest()[:16], 16) % 10_000


def test_a_process_of_its_own_agrees() -> None:
    program = (
        "from featurestore.records.traffic_split import TrafficSplit as S\n"
        "s = S('churn', {'champion': 9000, 'challenger': 1000}, (), (('customer_id', 'BIGINT'),), {})\n"
        "print(''.join(s.arm_of({'customer_id': key})[2] for key in range(200)))"
    )
    traffic_split = split({"champion": 90, "challenger": 10})
    here = "".join(traffic_split.arm_of({"customer_id": key})[2] for key in range(200))
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here


@pytest.mark.parametrize(
    "sql_type, spellings, text",
    [
        ("BIGINT", [42, 42.0, Decimal(42)], "42"),
        ("VARCHAR", ["42"], "42"),
        ("BOOLEAN", [True], "true"),
        ("DATE", ["2026-03-01", date(2026, 3, 1)], "2026-03-01"),
        ("TIMESTAMP WITH TIME ZONE", ["2026-03-01T02:00:00+02:00", "2026-03-01"], "2026-03-01T00:00:00.000000Z"),
        ("DECIMAL(10,2)", [1, "1.5e0", Decimal("1.50")][1:], "1.50"),
        ("UUID", ["0000000A-0000-0000-0000-000000000000", UUID(int=10 << 96)], "0000000a-0000-0000-0000-000000000000"),
    ],
)
def test_spellings_of_one_value_are_one_key(sql_type: str, spellings: list[Any], text: str) -> None:
    traffic_split = split({"a": 50, "b": 50}, (("k", sql_type),))
    for value in spellings:
        assert traffic_split._texts({"k": value}, 0) == [text]


def test_several_keys_and_null() -> None:
    traffic_split = split({"a": 50, "b": 50}, (("a_id", "BIGINT"), ("b_id", "VARCHAR")))
    assert traffic_split._texts({"b_id": "x"}, 0) == [None, "x"]
    with pytest.raises(TypeMismatch, match=r"records\[3\].a_id"):
        traffic_split.arm_of({"a_id": "x", "b_id": "x"}, 3)


def test_shares_are_the_weights_and_grow_without_moving_others() -> None:
    keys = range(20_000)
    small, large = split({"champion": 90, "challenger": 10}), split({"champion": 75, "challenger": 25})
    before = {key for key in keys if small.arm_of({"customer_id": key}) == "challenger"}
    after = {key for key in keys if large.arm_of({"customer_id": key}) == "challenger"}
    assert before < after
    # Four standard deviations of a fair draw.
    assert abs(len(before) - 2_000) < 170
    assert abs(len(after) - 5_000) < 245


def test_aliases_without_weight_get_nothing_and_replace_nobody() -> None:
    traffic_split = split({"a": 60, "b": 0, "c": 40})
    assert traffic_split.answering == ["a", "c"]
    assert {traffic_split.arm_of({"customer_id": key}) for key in range(200)} == {"a", "c"}
    assert traffic_split.substitute(["a"]) == "c"
    assert traffic_split.substitute(["a", "c"]) is None


WRONG = [
    ({"a": 90, "b": 9}, "a=90, b=9 add up to 99; they must add up to 100"),
    ({"a": -10, "b": 110}, "a=-10 is not a percentage"),
    ({"a": float("nan")}, "a=nan is not a percentage"),
    ({"a": float("inf")}, "a=inf is not a percentage"),
    ({"a": "100"}, "a='100' is not a percentage"),
    ({"a": True}, "a=True is not a percentage"),
    ({"a": 99.999, "b": 0.001}, "a=99.999 has more than two digits"),
    ({"a": None}, "a=None is not a percentage"),
    ({"": 100}, "names have 1 to"),
    ({"a\n": 100}, "cannot be printed"),
    ({1: 100}, "is not text"),
    ([("a", 100)], "is not an object"),
]


@pytest.mark.parametrize("weights, why", WRONG)
def test_wrong_weights(weights: Any, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        check_weights(weights)


def test_shadows_are_aliases() -> None:
    assert check_shadow("b") == ("b",)
    assert check_shadow(["b", "a", "b"]) == ("a", "b")
    for wrong in (7, None, [1], [""]):
        with pytest.raises(RequestError):
            check_shadow(wrong)


@given(st.lists(st.integers(1, PLACES), min_size=1, max_size=6), st.integers(0, 10**9))
def test_every_place_has_one_alias(traffic_split: list[int], key: int) -> None:
    bounds = sorted({0, PLACES, *(part % PLACES for part in traffic_split)})
    places = {f"a{number}": high - low for number, (low, high) in enumerate(itertools.pairwise(bounds))}
    assert check_weights({alias: count / 100 for alias, count in places.items()}) == places
    found = TrafficSplit("m", places, (), KEYS, {})
    place, low = place_of("m", [str(key)]), 0
    for alias in sorted(places):
        if low <= place < low + places[alias]:
            assert found.arm_of({"customer_id": key}) == alias
        low += places[alias]
    assert low == PLACES
