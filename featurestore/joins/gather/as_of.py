"""The as-of match: which row of a log each spine row sees, by a binary search in the log put in order once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from featurestore.joins.gather.key_codes import PACKED, Keys
from featurestore.values.int64 import Flags, Numbers, arrow, filled

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
    None where neither asks for it. Rows of a feature_timestamp before `since`, or at `until` and later (microseconds; None: no
    bound), are left out. `deleted`: which rows are tombstones, None for none. From its created time on, a tombstone hides every
    earlier version of its row.
    """

    def __init__(
        self,
        keys: Sequence[pa.ChunkedArray],
        times: pa.ChunkedArray,
        created: pa.ChunkedArray | None,
        known: str,
        since: int | None = None,
        until: int | None = None,
        deleted: Flags | None = None,
    ) -> None:
        self._keys = Keys(keys)
        held = self._keys.of(keys)
        feature, made = micros(times), None if created is None else micros(created)
        there = held >= 0
        if known == "then":
            there &= made != NEVER
        if since is not None:
            there &= feature >= since
        if until is not None:
            there &= feature < until
        kept = None if there.all() else np.flatnonzero(there)
        if kept is not None:
            held, feature, made = held[kept], feature[kept], None if made is None else made[kept]
            deleted = None if deleted is None else deleted[kept]
        from_when = np.maximum(feature, made) if known == "then" and made is not None else feature
        self._times = _Times(from_when, self._keys.size)
        codes = held * self._times.size
        self._times.add_to(codes, from_when)
        if known == "then" and made is not None and deleted is not None and deleted.any():
            rows = _living_so_far(codes, held, feature, made, deleted)
            codes = np.sort(codes)
        elif known == "then" and made is not None:
            rows = _latest_so_far(np.argsort(codes, kind="stable"), np.lexsort((made, feature, held)))
            codes = np.sort(codes)
        elif made is not None:
            rows = np.lexsort((made, codes))
            codes = codes[rows]
            if deleted is not None:
                living = _latest(codes) & ~deleted[rows]
                rows, codes = rows[living], codes[living]
        else:
            rows, codes = _in_order(codes, held, self._keys.size)
        self._ordered = codes
        self._of_features = known != "then"
        rows = rows if kept is None else np.where(rows == NOTHING, NOTHING, kept[rows])
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


def _living_so_far(codes: Numbers, keys: Numbers, feature: Numbers, made: Numbers, deleted: Flags) -> Numbers:
    """As `_latest_so_far`, of rows that hold until a tombstone of the same key and feature_timestamp becomes known; NOTHING for none.

    In the order of moments, every version covers those from its own to that of its tombstone, or to the end of its key. What is
    seen at a moment is the last, in the order of rows, of the versions that cover it.
    """
    count = len(codes)
    by_row = np.lexsort((made, feature, keys))
    rank = np.empty(count, np.int64)
    rank[by_row] = np.arange(count)
    by_moment = np.lexsort((rank, codes))
    place = np.empty(count, np.int64)
    place[by_moment] = np.arange(count)
    keys, feature, deleted, begin = keys[by_row], feature[by_row], deleted[by_row], place[by_row]
    tombstone = np.minimum.accumulate(np.where(deleted, np.arange(count), count)[::-1])[::-1]
    there = tombstone < count
    tombstone = np.minimum(tombstone, count - 1)
    there &= (keys[tombstone] == keys) & (feature[tombstone] == feature)
    end = np.where(there, begin[tombstone], np.searchsorted(keys, keys, side="right"))
    living = np.flatnonzero(~deleted)
    covering = _greatest_covering(count, begin[living], end[living], living)
    return np.where(covering == NOTHING, NOTHING, by_row[covering])


def _greatest_covering(count: int, lower: Numbers, upper: Numbers, values: Numbers) -> Numbers:
    """For each of the places 0, 1, ... the greatest value of the ranges [lower, upper) that cover it, NOTHING for none.

    A range is covered by two of a power of two places each; ranges of so many places become two of half as many, down to single ones.
    """
    level = np.frexp(upper - lower)[1] - 1
    found = np.full(count, NOTHING)
    for depth in range(int(level.max(initial=0)), -1, -1):
        width = 1 << depth
        halves = found.copy()
        np.maximum(halves[width:], found[:-width], out=halves[width:])
        found = halves
        chosen = level == depth
        np.maximum.at(found, lower[chosen], values[chosen])
        np.maximum.at(found, upper[chosen] - width, values[chosen])
    return found


def _latest(codes: Numbers) -> Flags:
    """The last one of each run of equal codes."""
    last = np.ones(len(codes), np.bool_)
    last[:-1] = codes[1:] != codes[:-1]
    return last


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
