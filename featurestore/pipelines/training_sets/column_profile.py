"""Statistics of one column, computed in one pass over its distinct values in ascending order and their counts."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

PERCENTS = (1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99)
"""The quantiles to compute, in percent."""
BINS = 20
"""Bins of the histogram."""
TOP = 20
"""How many of the most frequent values to keep."""
BLOCK = 65_536
"""Distinct values per partial sum."""

Values: TypeAlias = np.ndarray[Any, Any]
ValueCounts: TypeAlias = tuple[Values, Values]
"""Distinct values in ascending order, and how often each occurs."""
ToJson: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Extent:
    """The number of values, their minimum and maximum: what must be known before the pass."""

    count: int
    least: Any
    greatest: Any


class Profile:
    """Accumulates the statistics of a column. How its values are cut into pieces does not change the result."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._seen = 0
        self._distinct = 0
        self._top: list[tuple[Any, int]] = []
        self._mean, self._squares = 0.0, 0.0
        self._edges = edges(extent)
        self._below = np.zeros(max(len(self._edges) - 2, 0), np.int64)
        self._positions = [max(1, -(-extent.count * percent // 100)) for percent in PERCENTS]
        self._quantiles: list[Any] = []

    def consume(self, pieces: Iterable[ValueCounts]) -> "Profile":
        """Add values, ascending within and across pieces. Sums are made over blocks of fixed size, so that the pieces do not matter."""
        for values, times in _blocks(pieces):
            self._add(values, times)
        return self

    def to_dict(self, to_json: ToJson, moments: bool) -> dict[str, Any]:
        """A JSON-ready form, with values converted by `to_json`; mean and standard deviation if `moments` is True."""
        count = self._extent.count
        statistics: dict[str, Any] = {"distinct": self._distinct}
        if moments:
            spread = math.sqrt(self._squares / (count - 1)) if count > 1 else None
            statistics |= {"mean": _finite(self._mean if count else None), "stddev": _finite(spread)}
        quantiles = {str(percent): to_json(value) for percent, value in zip(PERCENTS, self._quantiles, strict=True)} if count else {}
        return {
            **statistics,
            "min": to_json(self._extent.least) if count else None,
            "max": to_json(self._extent.greatest) if count else None,
            "quantiles": quantiles,
            "histogram": {
                "edges": [to_json(edge) for edge in self._exact_edges(moments)] if count else [],
                "counts": np.diff([0, *self._below.tolist(), count]).tolist() if count else [],
            },
            "top": [[to_json(value), times] for value, times in self._top],
        }

    def _exact_edges(self, moments: bool) -> list[Any]:
        """The edges; the outer ones of times in integer microseconds: as a double, the last one of 9999 rounds into the year 10000."""
        edges = self._edges.tolist()
        return edges if moments else [self._extent.least, *edges[1:-1], self._extent.greatest]

    def _add(self, values: Values, times: Values) -> None:
        reached = np.cumsum(times)
        before, count = self._seen, int(reached[-1])
        self._distinct += len(values)
        self._seen += count
        due = [position - before for position in self._positions[len(self._quantiles) :] if position <= self._seen]
        self._quantiles += values[np.searchsorted(reached, due)].tolist()
        lesser = np.searchsorted(values, self._edges[1:-1])
        self._below += np.where(lesser > 0, reached[lesser - 1], 0)
        self._add_moments(values.astype(np.float64), times, before, count)
        self._add_top(values, times)

    def _add_moments(self, values: Values, times: Values, before: int, count: int) -> None:
        """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float((values * times).sum()) / count
            squares = float((np.square(values - mean) * times).sum())
            apart = mean - self._mean
            self._squares += squares + apart * apart * before * count / (before + count)
            self._mean += apart * count / (before + count)

    def _add_top(self, values: Values, times: Values) -> None:
        """Keep the most frequent values; of equally frequent ones the smaller, which come first."""
        enough = self._top[-1][1] if len(self._top) == TOP else 0
        picked = np.flatnonzero(times > enough)
        if len(picked) > TOP:
            least = np.sort(times[picked])[-TOP]
            above = np.flatnonzero(times > least)
            picked = np.sort(np.concatenate([above, np.flatnonzero(times == least)[: TOP - len(above)]]))
        if len(picked):
            candidates = zip(values[picked].tolist(), times[picked].tolist(), strict=True)
            self._top = sorted([*self._top, *candidates], key=lambda pair: -pair[1])[:TOP]


def count_runs(batches: Iterable[Values]) -> Iterator[ValueCounts]:
    """Distinct values and their counts, from ascending values; a run of equal values may continue in the next batch."""
    pending: ValueCounts | None = None
    for batch in batches:
        if not len(batch):
            continue
        starts = np.concatenate([[0], np.flatnonzero(batch[1:] != batch[:-1]) + 1])
        values, times = batch[starts], np.diff(starts, append=len(batch))
        if pending is not None and pending[0][-1] == values[0]:
            pending[1][-1] += times[0]
            values, times = values[1:], times[1:]
        if pending is not None and len(values):
            yield pending
        pending = (values, times) if pending is None or len(values) else pending
    if pending is not None:
        yield pending


def edges(extent: Extent) -> Values:
    """The edges of equally wide bins from the minimum to the maximum; of a single bin where doubles cannot separate them."""
    if not extent.count or extent.least == extent.greatest:
        return np.array([extent.least or 0, extent.least or 0])
    low, high = float(extent.least), float(extent.greatest)
    cut: Sequence[float] = [low * (1 - step / BINS) + high * (step / BINS) for step in range(1, BINS)]
    inner = sorted({edge for edge in cut if low < edge < high})
    return np.array([extent.least, *inner, extent.greatest], np.float64)


def _blocks(pieces: Iterable[ValueCounts]) -> Iterator[ValueCounts]:
    """Pieces of exactly BLOCK distinct values, except the last."""
    rest: ValueCounts = np.empty(0), np.empty(0, np.int64)
    for values, times in pieces:
        if len(rest[0]):
            values, times = np.concatenate([rest[0], values]), np.concatenate([rest[1], times])
        whole = len(values) - len(values) % BLOCK
        for start in range(0, whole, BLOCK):
            yield values[start : start + BLOCK], times[start : start + BLOCK]
        rest = values[whole:], times[whole:]
    if len(rest[0]):
        yield rest


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
