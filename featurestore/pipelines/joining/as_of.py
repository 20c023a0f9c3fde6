"""The as-of match: which row of a log each spine row sees, by a binary search in the log put in order once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from featurestore.pipelines.joining.key_numbers import PACKED, Keys
from featurestore.pipelines.numbers import Numbers, filled

NEVER = np.iinfo(np.int64).min
NOTHING = -1
"""The position of no row."""
LIMIT = 1 << 62
"""What a key and a time together may count up to."""


class AsOf:
    """A log in the order of keys and times: sixteen bytes or less for each of its rows.

    `known` "now": of the rows of one key and time the latest created one holds, where there may be several (`corrected`). "then": a row
    holds from the later of its two times on, and of those that hold the one of the latest feature_timestamp is seen.
    """

    def __init__(
        self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray, created: pa.ChunkedArray, known: str, corrected: bool
    ) -> None:
        self._keys = Keys(keys)
        held = self._keys.of(keys)
        feature, made = micros(times), micros(created) if known == "then" or corrected else None
        seen = np.flatnonzero((held >= 0) & (made != NEVER)) if known == "then" else np.flatnonzero(held >= 0)
        whole = len(seen) == len(held)
        if not whole:
            held, feature, made = held[seen], feature[seen], None if made is None else made[seen]
        from_when = np.maximum(feature, made) if known == "then" and made is not None else feature
        self._times = _Times(from_when, self._keys.size)
        codes = self._codes(held, from_when)
        if known == "then" and made is not None:
            rows = _latest_so_far(np.argsort(codes, kind="stable"), np.lexsort((made, feature, held)))
            codes = np.sort(codes)
        elif made is not None:
            rows = np.lexsort((made, codes))
            codes = codes[rows]
        elif _ascending(codes):
            rows = np.arange(len(codes))
        else:
            rows = np.argsort(codes, kind="stable")
            codes = codes[rows]
        self._ordered = codes
        rows = rows if whole else seen[rows]
        self._rows = rows.astype(np.int32) if len(held) < PACKED else rows

    def near(self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Numbers:
        """The rows of a spine in an order in which those of near keys and times are neighbours."""
        return np.argsort(self._codes(self._keys.of(keys), micros(times)))

    def positions(self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray, order: Numbers) -> Numbers:
        """For each spine row the position in the log of the row that it sees; NOTHING for none.

        The spine's rows are looked for in the order given, any: neighbours among neighbours is several times faster than at random.
        """
        held, moments = self._keys.of(keys), micros(times)
        if not len(self._ordered):
            return np.full(len(held), NOTHING)
        wanted = self._codes(held, moments)
        places = np.empty(len(wanted), np.int64)
        places[order] = np.searchsorted(self._ordered, wanted[order], side="right") - 1
        found = (places >= 0) & (held >= 0) & (moments != NEVER)
        np.maximum(places, 0, out=places)
        # What is found lies at or before what is wanted, and so is of the same key unless it is before the first that the key can have.
        found &= self._ordered[places] >= held * self._times.size
        return np.where(found, self._rows[places].astype(np.int64), NOTHING)

    def _codes(self, keys: Numbers, times: Numbers) -> Numbers:
        return keys * self._times.size + self._times.of(times)


def micros(times: pa.ChunkedArray) -> Numbers:
    """Times as microseconds, NULL as NEVER."""
    return filled(times.cast(pa.int64()), NEVER)


def _latest_so_far(by_moment: Numbers, by_row: Numbers) -> Numbers:
    """For each row by the moment from which it holds, the last in the order of rows among it and those before.

    Rows are in the order of keys first, in both: so that the last so far is of the same key.
    """
    place = np.empty(len(by_row), np.int64)
    place[by_row] = np.arange(len(by_row))
    found: Numbers = by_row[np.maximum.accumulate(place[by_moment])] if len(by_row) else by_row
    return found


def _ascending(values: Numbers) -> bool:
    return bool((values[1:] >= values[:-1]).all())


class _Times:
    """Numbers times 0, 1, 2, ..., of the log's first to its last one; earlier ones are -1."""

    def __init__(self, times: Numbers, keys: int) -> None:
        self._first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self.size = last - self._first + 1
        self._moments: Numbers | None = None
        if self.size * keys >= LIMIT:
            self._moments = np.unique(times)
            self.size = len(self._moments)

    def of(self, times: Numbers) -> Numbers:
        """The number of the last time that is not after each of these."""
        if self._moments is not None:
            return np.searchsorted(self._moments, times, side="right") - 1
        return np.clip(times, self._first - 1, self._first + self.size - 1) - self._first
