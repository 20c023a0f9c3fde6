"""What the values of one column look like, from one pass over its distinct values in ascending order, each with how often it occurs."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

PERCENTS = (1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99)
"""The quantiles that are kept."""
BINS = 20
TOP = 20
"""How many of the most frequent values are kept."""
BLOCK = 65_536

Values: TypeAlias = np.ndarray[Any, Any]
Counted: TypeAlias = tuple[Values, Values]
"""Distinct values in ascending order, and how often each occurs."""
Spelled: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Extent:
    """How many values there are, the least and the greatest: what must be known before the pass."""

    count: int
    least: Any
    greatest: Any


class Profile:
    """Feed it all values of a column; in which pieces they come does not change what it says."""

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

    def of(self, pieces: Iterable[Counted]) -> "Profile":
        """Take the values in, ascending also from piece to piece. Sums are those of blocks of fixed size: the pieces do not matter."""
        for values, times in _blocks(pieces):
            self._add(values, times)
        return self

    def to_dict(self, spelled: Spelled, moments: bool) -> dict[str, Any]:
        """JSON-ready, each value as `spelled` has it; mean and standard deviation where `moments` asks for them."""
        count = self._extent.count
        found: dict[str, Any] = {"distinct": self._distinct}
        if moments:
            spread = math.sqrt(self._squares / (count - 1)) if count > 1 else None
            found |= {"mean": _finite(self._mean if count else None), "stddev": _finite(spread)}
        quantiles = {str(percent): spelled(value) for percent, value in zip(PERCENTS, self._quantiles, strict=True)} if count else {}
        return {
            **found,
            "min": spelled(self._extent.least) if count else None,
            "max": spelled(self._extent.greatest) if count else None,
            "quantiles": quantiles,
            "histogram": {
                "edges": [spelled(edge) for edge in self._named_edges(moments)] if count else [],
                "counts": np.diff([0, *self._below.tolist(), count]).tolist() if count else [],
            },
            "top": [[spelled(value), times] for value, times in self._top],
        }

    def _named_edges(self, moments: bool) -> list[Any]:
        """The edges; of times the outer ones to the microsecond: as a double, the last one of 9999 is in the year 10000."""
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
        """Of equally frequent values the lesser ones stay: they come first."""
        enough = self._top[-1][1] if len(self._top) == TOP else 0
        picked = np.flatnonzero(times > enough)
        if len(picked) > TOP:
            least = np.sort(times[picked])[-TOP]
            above = np.flatnonzero(times > least)
            picked = np.sort(np.concatenate([above, np.flatnonzero(times == least)[: TOP - len(above)]]))
        if len(picked):
            found = zip(values[picked].tolist(), times[picked].tolist(), strict=True)
            self._top = sorted([*self._top, *found], key=lambda pair: -pair[1])[:TOP]


def runs(batches: Iterable[Values]) -> Iterator[Counted]:
    """The distinct values of ascending ones, with how often each occurs, also where its run goes on in the next batch."""
    held: Counted | None = None
    for batch in batches:
        if not len(batch):
            continue
        starts = np.concatenate([[0], np.flatnonzero(batch[1:] != batch[:-1]) + 1])
        values, times = batch[starts], np.diff(starts, append=len(batch))
        if held is not None and held[0][-1] == values[0]:
            held[1][-1] += times[0]
            values, times = values[1:], times[1:]
        if held is not None and len(values):
            yield held
        held = (values, times) if held is None or len(values) else held
    if held is not None:
        yield held


def edges(extent: Extent) -> Values:
    """The edges of equally wide bins from the least to the greatest value; of one bin where they cannot be told apart."""
    if not extent.count or extent.least == extent.greatest:
        return np.array([extent.least or 0, extent.least or 0])
    low, high = float(extent.least), float(extent.greatest)
    cut: Sequence[float] = [low * (1 - step / BINS) + high * (step / BINS) for step in range(1, BINS)]
    inner = sorted({edge for edge in cut if low < edge < high})
    return np.array([extent.least, *inner, extent.greatest], np.float64)


def _blocks(pieces: Iterable[Counted]) -> Iterator[Counted]:
    """Pieces of exactly BLOCK distinct values each but the last."""
    rest: Counted = np.empty(0), np.empty(0, np.int64)
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
