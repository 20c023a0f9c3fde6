"""What the values of one column look like, from one pass over them in ascending order, a block at a time."""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENTS = (1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99)
"""The quantiles that are kept."""
BINS = 20
TOP = 20
"""How many of the most frequent values are kept."""
BLOCK = 65_536

Values = np.ndarray[Any, Any]
Spelled = Callable[[Any], Any]


@dataclass(frozen=True)
class Extent:
    """How many values there are, the least and the greatest: what must be known before the pass."""

    count: int
    least: Any
    greatest: Any


class Profile:
    """Feed it all values of a column in ascending order; the order in blocks does not change what it says."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._rest: Values | None = None
        self._seen = 0
        self._distinct = 0
        self._run: tuple[Any, int] | None = None
        self._top: list[tuple[int, int, Any]] = []
        self._offered = 0
        self._mean, self._squares = 0.0, 0.0
        self._edges = edges(extent)
        self._counts = np.zeros(len(self._edges) - 1, np.int64)
        self._positions = {percent: max(1, -(-extent.count * percent // 100)) for percent in PERCENTS}
        self._quantiles: dict[int, Any] = {}

    def of(self, batches: Iterable[Values]) -> "Profile":
        """Take the values in. Sums are those of blocks of fixed size, so that they do not depend on the batches."""
        for batch in batches:
            held = batch if self._rest is None else np.concatenate([self._rest, batch])
            whole = len(held) - len(held) % BLOCK
            for start in range(0, whole, BLOCK):
                self._add(held[start : start + BLOCK])
            self._rest = held[whole:]
        if self._rest is not None and len(self._rest):
            self._add(self._rest)
        self._end_run()
        return self

    def to_dict(self, spelled: Spelled, moments: bool) -> dict[str, Any]:
        """JSON-ready, each value as `spelled` has it; mean and standard deviation where `moments` asks for them."""
        count = self._extent.count
        found: dict[str, Any] = {"distinct": self._distinct}
        if moments:
            spread = math.sqrt(self._squares / (count - 1)) if count > 1 else None
            found |= {"mean": _finite(self._mean if count else None), "stddev": _finite(spread)}
        return {
            **found,
            "min": spelled(self._extent.least) if count else None,
            "max": spelled(self._extent.greatest) if count else None,
            "quantiles": {str(percent): spelled(self._quantiles[percent]) for percent in PERCENTS} if count else {},
            "histogram": {
                "edges": [spelled(edge) for edge in self._edges.tolist()] if count else [],
                "counts": self._counts.tolist() if count else [],
            },
            "top": [[spelled(value), times] for times, _, value in sorted(self._top, reverse=True)],
        }

    def _add(self, block: Values) -> None:
        for percent, position in self._positions.items():
            if self._seen < position <= self._seen + len(block):
                self._quantiles[percent] = block[position - self._seen - 1].item()
        inner = np.clip(np.searchsorted(self._edges, block, side="right") - 1, 0, len(self._counts) - 1)
        self._counts += np.bincount(inner, minlength=len(self._counts))
        self._add_moments(block.astype(np.float64))
        starts = np.concatenate([[0], np.flatnonzero(block[1:] != block[:-1]) + 1])
        self._add_runs(block[starts], np.diff(np.concatenate([starts, [len(block)]])))
        self._seen += len(block)

    def _add_moments(self, block: Values) -> None:
        """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(block.mean())
            squares = float(np.square(block - mean).sum())
            both = self._seen + len(block)
            apart = mean - self._mean
            self._squares += squares + apart * apart * self._seen * len(block) / both
            self._mean += apart * len(block) / both

    def _add_runs(self, values: Values, lengths: Values) -> None:
        first = values[0].item()
        if self._run is not None and self._run[0] == first:
            lengths[0] += self._run[1]
        else:
            self._end_run()
        self._distinct += len(values) - 1
        self._run = (values[-1].item(), int(lengths[-1]))
        enough = self._top[0][0] if len(self._top) == TOP else 0
        for index in np.flatnonzero(lengths[:-1] > enough).tolist():
            self._offer(values[index].item(), int(lengths[index]))

    def _end_run(self) -> None:
        if self._run is not None:
            self._distinct += 1
            self._offer(*self._run)
            self._run = None

    def _offer(self, value: Any, times: int) -> None:
        """Of equally frequent values the lesser ones stay: they come first."""
        self._offered += 1
        entry = (times, -self._offered, value)
        if len(self._top) < TOP:
            heapq.heappush(self._top, entry)
        elif times > self._top[0][0]:
            heapq.heapreplace(self._top, entry)


def edges(extent: Extent) -> Values:
    """The edges of equally wide bins from the least to the greatest value; of one bin where they cannot be told apart."""
    if not extent.count or extent.least == extent.greatest:
        return np.array([extent.least or 0, extent.least or 0])
    low, high = float(extent.least), float(extent.greatest)
    cut: Sequence[float] = [low * (1 - step / BINS) + high * (step / BINS) for step in range(1, BINS)]
    inner = sorted({edge for edge in cut if low < edge < high})
    return np.array([extent.least, *inner, extent.greatest], np.float64)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
