"""Chunks: a span divided so that each part fits the memory, by time in a row view, by a hash of the keys over a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

from featurestore.pipelines.materialization.interval import Span
from featurestore.settings import Settings
from featurestore.values import times

ROWS = 3_000_000
"""More rows at once save no time: they only move out of the processor's caches."""
POINTS = 3
"""Up to so many grid points a pass over the events for each is faster than tiles and windows."""
CUT = "months with events, tombstones"
"""How row views are cut and what chunks hold: another text where that changes, and what an older release has left is begun anew."""


@dataclass(frozen=True)
class Chunk:
    """The part of a span that is computed, compared and written at once: one of `shares` of the keys, or all of them.

    `point`: the span is one grid point, computed from the events without tiles. `month_rows`: about how many rows a month of it has.
    """

    span: Span
    share: int = 0
    shares: int = 1
    point: bool = False
    month_rows: int = ROWS

    @property
    def of_one_month(self) -> bool:
        """Whether every feature_timestamp of the chunk lies in the same month."""
        first, last = (times.moment(max(bound, times.FIRST)) for bound in (self.span.lower, self.span.upper))
        return (first.year, first.month) == (last.year, last.month)

    def __str__(self) -> str:
        return f"{self.span.lower}..{self.span.upper}{'' if self.shares == 1 else f' {self.share}/{self.shares}'}"


def rows_at_once(settings: Settings, columns: int) -> int:
    """How many feature rows of this many columns a chunk may have: a quarter of the memory, at twice their size."""
    if settings.chunk_rows:
        return settings.chunk_rows
    limit = settings.memory_bytes()
    return ROWS if limit is None else max(50_000, min(ROWS, limit // 4 // (16 * columns + 32)))


def shares(span: Span, rows: int, days: int, at_once: int) -> list[Chunk]:
    """The span for all keys, or in shares of the keys where it may have more rows, on so many days, than fit at once."""
    count = max(1, -(-rows // at_once))
    return [Chunk(span, share, count, month_rows=_month_rows(rows // count, days)) for share in range(count)]


def points(span: Span, step: int) -> list[Chunk]:
    """The grid points in the span one by one; none where there are too many of them."""
    first = span.lower + -span.lower % step
    found = range(first, span.upper + 1, step)
    return [] if len(found) > POINTS else [Chunk(replace(span, lower=point, upper=point), point=True) for point in found]


def months(span: Span, days: Sequence[tuple[int, int]], at_once: int, fresh: bool) -> list[Chunk]:
    """The span cut between months: each part has as many as fit at once, or one. `days` with events: (days since 1970,
    events), ascending. `fresh`: nothing is held of the span, and parts end with the months that have events."""
    counted: dict[int, list[int]] = {}
    for day, number in days:
        begin = times.micros((times.EPOCH + timedelta(days=day)).replace(day=1))
        counted.setdefault(begin, []).append(number)
    parts: list[list[int]] = []
    rows = 0
    for begin, numbers in counted.items():
        if not parts or rows + sum(numbers) > at_once:
            parts.append([])
            rows = 0
        parts[-1].append(begin)
        rows += sum(numbers)
    bounds = [span.lower, *(part[0] for part in parts[1:]), span.upper + 1]
    found = [(part[0], _next(part[-1])) for part in parts] if fresh and parts else list(pairwise(bounds))
    chunks: list[Chunk] = []
    for (begin, end), part in zip(found, parts or [[]], strict=True):
        of_days = [number for month in part for number in counted[month]]
        lower, upper = max(begin, span.lower), min(end - 1, span.upper)
        within = replace(span, lower=lower, upper=upper, events_lower=lower, events_upper=upper)
        chunks.append(Chunk(within, month_rows=_month_rows(sum(of_days), len(of_days))))
    return chunks


def _month_rows(rows: int, days: int) -> int:
    """What a month has at the rate of so many days."""
    return rows * 30 // max(days, 1)


def _next(month: int) -> int:
    """The begin of the month after."""
    return times.micros((times.moment(month) + timedelta(days=31)).replace(day=1))
