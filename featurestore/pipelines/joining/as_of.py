"""The as-of match: which row of a log each spine row sees, by a binary search in the log put in order once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from featurestore.pipelines.joining.key_numbers import PACKED, Keys
from featurestore.pipelines.numbers import Numbers, arrow, filled

NEVER = np.iinfo(np.int64).min
AT_ONCE = 1 << 14
NOTHING = -1
"""The position of no row."""
LIMIT = 1 << 62
"""What a key and a time together may count up to."""


@dataclass(frozen=True)
class Asked:
    """Keys and times of a spine in any order; `order` are its rows' numbers."""

    order: Numbers
    keys: Sequence[pa.ChunkedArray]
    times: pa.ChunkedArray


@dataclass(frozen=True)
class Seen:
    """For each spine row the position in the log of the row that it sees, NOTHING for none, and that row's feature_timestamp, NEVER for
    none; None where the times must be read from the log.
    """

    positions: Numbers
    times: Numbers | None


class AsOf:
    """A log in the order of keys and times: sixteen bytes or less for each of its rows.

    `known` "now": of the rows of one key and time the latest created one holds, where there may be several. "then": a row
    holds from the later of its two times on, and of those that hold the one of the latest feature_timestamp is seen. `created` may be
    None where neither asks for it. Rows of a feature_timestamp before `since` (microseconds; None: no bound) are left out.
    """

    def __init__(
        self,
        keys: Sequence[pa.ChunkedArray],
        times: pa.ChunkedArray,
        created: pa.ChunkedArray | None,
        known: str,
        since: int | None = None,
    ) -> None:
        self._keys = Keys(keys)
        held = self._keys.of(keys)
        feature, made = micros(times), None if created is None else micros(created)
        there = held >= 0
        if known == "then":
            there &= made != NEVER
        if since is not None:
            there &= feature >= since
        kept = None if there.all() else np.flatnonzero(there)
        if kept is not None:
            held, feature, made = held[kept], feature[kept], None if made is None else made[kept]
        from_when = np.maximum(feature, made) if known == "then" and made is not None else feature
        self._times = _Times(from_when, self._keys.size)
        codes = held * self._times.size
        self._times.add_to(codes, from_when)
        if known == "then" and made is not None:
            rows = _latest_so_far(np.argsort(codes, kind="stable"), np.lexsort((made, feature, held)))
            codes = np.sort(codes)
        elif made is not None:
            rows = np.lexsort((made, codes))
            codes = codes[rows]
        else:
            rows, codes = _in_order(codes, held, self._keys.size)
        self._ordered = codes
        self._of_features = known != "then"
        rows = rows if kept is None else kept[rows]
        self._rows = rows.astype(np.int32) if len(there) < PACKED else rows

    def near(self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Asked:
        """A spine in an order in which rows of near keys and times are neighbours: looked for so, it takes a fraction of the time."""
        # By sixteen bits, which are put in order by counting, and are enough for those of one key to come together.
        cut = max((self._keys.size * self._times.size).bit_length() - 16, 0)
        codes = self._codes(self._keys.of(keys), micros(times))
        order = np.argsort((np.maximum(codes, 0) >> cut).astype(np.uint16), kind="stable")
        return Asked(order, [key.take(arrow(order)) for key in keys], times.take(arrow(order)))

    def seen(self, asked: Asked) -> Seen:
        """What each spine row sees, in the spine's own order."""
        rows = len(asked.order)
        positions, features = np.full(rows, NOTHING), np.full(rows, NEVER) if self._of_features else None
        if not len(self._ordered):
            return Seen(positions, features)
        numbered, times = self._keys.of(asked.keys), micros(asked.times)
        # As many at once as stay near the processor on the way through.
        for start in range(0, rows, AT_ONCE):
            part, held, moments = (column[start : start + AT_ONCE] for column in (asked.order, numbered, times))
            places = np.searchsorted(self._ordered, self._codes(held, moments), side="right") - 1
            found = (places >= 0) & (held >= 0) & (moments != NEVER)
            np.maximum(places, 0, out=places)
            # What is found lies at or before what is wanted: of the same key, unless it is before the first that the key can have.
            since = self._ordered[places] - held * self._times.size
            found &= since >= 0
            positions[part] = np.where(found, self._rows[places], NOTHING)
            if features is not None:
                features[part] = np.where(found, self._times.at(since), NEVER)
        return Seen(positions, features)

    def _codes(self, keys: Numbers, times: Numbers) -> Numbers:
        return keys * self._times.size + self._times.of(times)


def micros(times: pa.ChunkedArray) -> Numbers:
    """Times as microseconds, NULL as NEVER."""
    return filled(times.cast(pa.int64()), NEVER)


def _in_order(codes: Numbers, keys: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """The order of codes, the first of equal ones first, and the codes in it. Of the `keys` that they begin with there are `most`."""
    if _ascending(codes):
        return np.arange(len(codes)), codes
    # By keys alone, sixteen bits at a time, which are put in order by counting: files have the rows of a key in the order of times.
    rows = np.argsort(keys.astype(np.uint16), kind="stable")
    for bits in range(16, (most - 1).bit_length(), 16):
        rows = rows[np.argsort((keys >> bits).astype(np.uint16)[rows], kind="stable")]
    ordered = codes[rows]
    if not _ascending(ordered):
        rows = np.argsort(codes, kind="stable")
        ordered = codes[rows]
    return rows, ordered


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

    def add_to(self, codes: Numbers, times: Numbers) -> None:
        """Add the numbers of times that the log has, in place: memory that is new takes as long as what is done to it."""
        if self._moments is None:
            codes += times
            codes -= self._first
        else:
            codes += np.searchsorted(self._moments, times)

    def at(self, numbers: Numbers) -> Numbers:
        """The times of these numbers; any for what is no number."""
        return numbers + self._first if self._moments is None else self._moments[np.clip(numbers, 0, self.size - 1)]
