"""Divide a span into chunks that fit in memory: by month in a row view, by a hash of the keys over a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

from featurestore.pipelines.materialization.interval import Span
from featurestore.settings import Settings
from featurestore.values import times
from featurestore.values.epoch import EPOCH

ROWS = 3_000_000
"""Most rows in a chunk. Larger chunks are not faster, since they do not fit in the processor's caches."""
POINTS = 3
"""Up to this many grid points, one pass over the events for each point is faster than tiles and windows."""
CHUNKING = "months with events, tombstones"
"""Version of how spans are divided and what chunks contain, stored in checkpoints. Change it together with either: checkpoints of an
earlier release are then dropped, and their runs start again."""


@dataclass(frozen=True)
class Chunk:
    """The part of a span that is computed, compared and written together: the keys of one of `buckets` hash buckets.

    `point`: the span is one grid point, computed from the events without tiles. `month_rows` is the estimated number of rows per month.
    """

    span: Span
    bucket: int = 0
    buckets: int = 1
    point: bool = False
    month_rows: int = ROWS

    @property
    def of_one_month(self) -> bool:
        """Whether every feature_timestamp of the chunk lies in the same month."""
        first, last = (times.moment(max(bound, times.FIRST)) for bound in (self.span.lower, self.span.upper))
        return (first.year, first.month) == (last.year, last.month)

    def __str__(self) -> str:
        return f"{self.span.lower}..{self.span.upper}{'' if self.buckets == 1 else f' {self.bucket}/{self.buckets}'}"


def max_chunk_rows(settings: Settings, columns: int) -> int:
    """The most feature rows of so many columns in a chunk: a quarter of the memory limit, counting each row at twice its size."""
    if settings.chunk_rows:
        return settings.chunk_rows
    limit = settings.memory_bytes()
    return ROWS if limit is None else max(50_000, min(ROWS, limit // 4 // (16 * columns + 32)))


def split_by_key(span: Span, rows: int, days: int, max_rows: int) -> list[Chunk]:
    """Divide a span by key into as many buckets as needed for at most `max_rows` rows each, given its rows and their days."""
    count = max(1, -(-rows // max_rows))
    return [Chunk(span, bucket, count, month_rows=_month_rows(rows // count, days)) for bucket in range(count)]


def split_by_point(span: Span, step: int) -> list[Chunk]:
    """One chunk for each grid point in a span; empty if there are more than POINTS."""
    first = span.lower + -span.lower % step
    points = range(first, span.upper + 1, step)
    return [] if len(points) > POINTS else [Chunk(replace(span, lower=point, upper=point), point=True) for point in points]


def split_by_month(span: Span, days: Sequence[tuple[int, int]], max_rows: int, fresh: bool) -> list[Chunk]:
    """Divide a span into groups of whole months: one month, or as many as have at most `max_rows` events together.

    `days` are the days with events: (days since 1970, number of events), ascending. `fresh`: the table has no rows of the span, so
    chunks cover only the months that have events.
    """
    counted: dict[int, list[int]] = {}
    for day, number in days:
        begin = times.micros((EPOCH + timedelta(days=day)).replace(day=1))
        counted.setdefault(begin, []).append(number)
    parts: list[list[int]] = []
    rows = 0
    for begin, numbers in counted.items():
        if not parts or rows + sum(numbers) > max_rows:
            parts.append([])
            rows = 0
        parts[-1].append(begin)
        rows += sum(numbers)
    bounds = [span.lower, *(part[0] for part in parts[1:]), span.upper + 1]
    extents = [(part[0], _next_month(part[-1])) for part in parts] if fresh and parts else list(pairwise(bounds))
    chunks: list[Chunk] = []
    for (begin, end), part in zip(extents, parts or [[]], strict=True):
        of_days = [number for month in part for number in counted[month]]
        lower, upper = max(begin, span.lower), min(end - 1, span.upper)
        within = replace(span, lower=lower, upper=upper, events_lower=lower, events_upper=upper)
        chunks.append(Chunk(within, month_rows=_month_rows(sum(of_days), len(of_days))))
    return chunks


def _month_rows(rows: int, days: int) -> int:
    """The rows of a month of 30 days, at the average of so many days."""
    return rows * 30 // max(days, 1)


def _next_month(month: int) -> int:
    """The start of the month after the one that starts at `month`, in microseconds."""
    return times.micros((times.moment(month) + timedelta(days=31)).replace(day=1))
