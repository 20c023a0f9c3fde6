"""Windowed aggregations: each makes one feature for every window in `over`, named `<feature>_<window>`.

A window of length w at grid time g covers the events in [g - w, g). Every aggregation except `count()` of rows ignores
NULL values. A window without rows gives 0 for `count` and `count_distinct`, and NULL for all others. Where order
matters, events are ordered by (event time, created time, value).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from featurestore.dsl.durations import as_texts

Over = str | timedelta | Sequence[str | timedelta]
"""One window or several: durations such as "7d"."""


@dataclass(frozen=True)
class Aggregation:
    """One aggregation over one or more windows. `column` is row SQL over the source's columns; None counts rows."""

    function: str
    column: str | None
    over: Sequence[str]
    where: str | None = None
    n: int | None = None
    q: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "over", as_texts(self.over))


def count(column: str | None = None, *, over: Over, where: str | None = None) -> Aggregation:
    """The number of rows, or of non-NULL values of `column`; 0 for an empty window."""
    return Aggregation("count", column, as_texts(over), where)


def count_distinct(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The exact number of distinct non-NULL values; 0 for an empty window."""
    return Aggregation("count_distinct", column, as_texts(over), where)


def sum(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The sum in the column's type: integers up to 64 bits, exact decimals, doubles independent of row order."""
    return Aggregation("sum", column, as_texts(over), where)


def mean(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The arithmetic mean as a double."""
    return Aggregation("mean", column, as_texts(over), where)


def min(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The smallest value."""
    return Aggregation("min", column, as_texts(over), where)


def max(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The largest value."""
    return Aggregation("max", column, as_texts(over), where)


def stddev(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The sample standard deviation (n - 1 in the denominator) as a double; NULL for fewer than two values."""
    return Aggregation("stddev", column, as_texts(over), where)


def percentile(column: str, *, q: float, over: Over, where: str | None = None) -> Aggregation:
    """The exact q-quantile, 0 <= q <= 1, interpolated linearly between the two nearest ranks, as a double."""
    return Aggregation("percentile", column, as_texts(over), where, q=q)


def first(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The value of the earliest event in the window."""
    return Aggregation("first", column, as_texts(over), where)


def last(column: str, *, over: Over, where: str | None = None) -> Aggregation:
    """The value of the latest event in the window."""
    return Aggregation("last", column, as_texts(over), where)


def last_n(column: str, *, n: int, over: Over, where: str | None = None) -> Aggregation:
    """A list of the values of the `n` latest events in the window, newest first; NULL when there are none."""
    return Aggregation("last_n", column, as_texts(over), where, n=n)
