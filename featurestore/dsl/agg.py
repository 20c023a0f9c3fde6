"""Windowed aggregations: each makes one feature for every window, named `<feature>_<window>`.

A window is a length of time (`over="7d"`), the whole history (`over="all"`), or a number of rows (`last=10`). At grid time g, a
window of length w covers the events in [g - w, g), the whole history those before g, and a number of rows the latest of those.
Every aggregation except `count()` of rows ignores NULL values. A window without rows gives 0 for `count` and `count_distinct`, and
NULL for all others. Where order matters, events are ordered by (event time, created time, value).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from featurestore.dsl.durations import as_texts
from featurestore.dsl.tuples import as_tuple

Over = str | timedelta | Sequence[str | timedelta]
"""One window or several: durations such as "7d", or ALL."""
Last = int | Sequence[int]
"""One number of rows or several."""
ALL = "all"
"""The window that has every event before a grid time."""


@dataclass(frozen=True)
class Aggregation:
    """One aggregation over one or more windows. `column` is row SQL over the source's columns; None counts rows.

    `over` are windows of time, `last` are numbers of rows; one of them is None. If both are, the feature is a sequence of `last_n`
    over the whole history, and has the name that it was declared under.
    """

    function: str
    column: str | None
    over: Sequence[str] | None = None
    where: str | None = None
    n: int | None = None
    q: float | None = None
    last: Sequence[int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "over", None if self.over is None else as_texts(self.over))
        object.__setattr__(self, "last", None if self.last is None else as_tuple(self.last))

    @classmethod
    def of(
        cls,
        function: str,
        column: str | None,
        over: Over | None,
        last: Last | None,
        where: str | None,
        n: int | None = None,
        q: float | None = None,
    ) -> "Aggregation":
        """An aggregation over one window or several."""
        windows = None if over is None else as_texts(over)
        return cls(function, column, windows, where, n, q, None if last is None else as_tuple(last))

    def columns(self, declared: str) -> tuple[str, ...]:
        """The names of the features, one per window, under the name that they are declared under; also for an aggregation with problems."""
        if self.over is None and self.last is None:
            return (declared,)
        windows = [window for window in self.over or () if isinstance(window, str)]
        return tuple(f"{declared}_{window}" for window in (*windows, *(f"last{rows}" for rows in self.last or () if type(rows) is int)))


def count(column: str | None = None, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The number of rows, or of non-NULL values of `column`; 0 for an empty window."""
    return Aggregation.of("count", column, over, last, where)


def count_distinct(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The exact number of distinct non-NULL values; 0 for an empty window."""
    return Aggregation.of("count_distinct", column, over, last, where)


def sum(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The sum in the column's type: integers up to 64 bits, exact decimals, doubles independent of row order."""
    return Aggregation.of("sum", column, over, last, where)


def mean(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The arithmetic mean as a double."""
    return Aggregation.of("mean", column, over, last, where)


def min(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The smallest value."""
    return Aggregation.of("min", column, over, last, where)


def max(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The largest value."""
    return Aggregation.of("max", column, over, last, where)


def stddev(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The sample standard deviation (n - 1 in the denominator) as a double; NULL for fewer than two values."""
    return Aggregation.of("stddev", column, over, last, where)


def percentile(column: str, *, q: float, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The exact q-quantile, 0 <= q <= 1, interpolated linearly between the two nearest ranks, as a double."""
    return Aggregation.of("percentile", column, over, last, where, q=q)


def first(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The value of the earliest event in the window."""
    return Aggregation.of("first", column, over, last, where)


def last(column: str, *, over: Over | None = None, last: Last | None = None, where: str | None = None) -> Aggregation:
    """The value of the latest event in the window."""
    return Aggregation.of("last", column, over, last, where)


def last_n(column: str, *, n: int, over: Over | None = None, where: str | None = None) -> Aggregation:
    """A list of the values of the `n` latest events in the window, newest first; NULL when there are none.

    Without `over`, the window is the whole history, and the feature's name has no suffix.
    """
    return Aggregation.of("last_n", column, over, None, where, n=n)
