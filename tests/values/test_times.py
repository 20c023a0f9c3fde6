"""Times as microseconds and as RFC 3339 text, over the whole calendar."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import RequestError
from featurestore.values import times

MICROSECONDS = st.integers(times.FIRST, times.LAST)


@given(MICROSECONDS)
def test_text_names_one_microsecond(microseconds: int) -> None:
    text = times.text(microseconds)
    assert text is not None
    assert len(text) == len("2026-01-31T12:00:00.000000Z")
    assert times.parse(text, "at") == microseconds
    assert times.micros(times.moment(microseconds)) == microseconds


@given(st.lists(MICROSECONDS | st.none(), max_size=40))
def test_many_texts_are_those_of_each(moments: list[int | None]) -> None:
    assert times.texts(moments) == {None: None, **{moment: times.text(moment) for moment in moments}}


def test_a_time_without_a_zone_is_utc() -> None:
    assert times.parse("2026-01-31T12:00:00", "at") == times.parse("2026-01-31T13:00:00+01:00", "at")
    assert times.micros(datetime(1970, 1, 1)) == 0  # noqa: DTZ001
    assert times.micros(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1


@pytest.mark.parametrize("wrong", ["soon", "", "2026-13-01", 5])
def test_what_is_no_time_is_named(wrong: Any) -> None:
    with pytest.raises(RequestError, match=r"^end "):
        times.parse(wrong, "end")


def test_the_ends_of_the_calendar_bound_nothing() -> None:
    assert [times.bound(at) for at in (times.FIRST, 0, times.LAST)] == [None, 0, None]
