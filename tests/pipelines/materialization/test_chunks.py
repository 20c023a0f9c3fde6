"""Splitting the interval of a row view at split_by_month: every event is in exactly one chunk."""

from datetime import UTC, datetime

from featurestore.compiler.events import DAY
from featurestore.pipelines.materialization.chunks import split_by_month
from featurestore.pipelines.materialization.interval import Span
from featurestore.values import times

DAYS = [(times.micros(datetime(*day, tzinfo=UTC)) // DAY, 5) for day in [(2025, 12, 31), (2026, 1, 1), (2026, 1, 9), (2026, 4, 30)]]


def span(lower: int, year: int, month: int, day: int, hour: int = 0) -> Span:
    end = times.micros(datetime(year, month, day, hour, tzinfo=UTC))
    return Span(lower, end, lower, end)


def test_of_what_is_fresh_chunks_end_with_the_months_that_have_events() -> None:
    parts = split_by_month(span(times.FIRST, 2026, 11, 21), DAYS, max_rows=10, fresh=True)
    begins, ends = ([times.text(bound) for bound in bounds] for bounds in zip(*((c.span.lower, c.span.upper) for c in parts), strict=True))
    assert [str(begin)[:10] for begin in begins] == ["2025-12-01", "2026-01-01", "2026-04-01"]
    assert [str(end) for end in ends] == ["2025-12-31T23:59:59.999999Z", "2026-01-31T23:59:59.999999Z", "2026-04-30T23:59:59.999999Z"]
    assert all(chunk.of_one_month for chunk in parts)


def test_of_what_is_fresh_chunks_stay_within_the_span() -> None:
    lower = times.micros(datetime(2026, 1, 5, tzinfo=UTC))
    (chunk,) = split_by_month(span(lower, 2026, 1, 9, 12), DAYS[2:3], max_rows=10, fresh=True)
    assert (chunk.span.lower, chunk.span.upper) == (lower, times.micros(datetime(2026, 1, 9, 12, tzinfo=UTC)))


def test_where_rows_are_held_chunks_leave_no_gap() -> None:
    whole = span(times.FIRST, 2026, 11, 21)
    parts = split_by_month(whole, DAYS, max_rows=15, fresh=False)
    assert [chunk.span.lower for chunk in parts] == [whole.lower, times.micros(datetime(2026, 4, 1, tzinfo=UTC))]
    assert [chunk.span.upper + 1 for chunk in parts] == [parts[1].span.lower, whole.upper + 1]


def test_a_span_without_events_is_one_chunk() -> None:
    whole = span(times.FIRST, 2026, 11, 21)
    assert [chunk.span for chunk in split_by_month(whole, [], max_rows=10, fresh=True)] == [whole]
