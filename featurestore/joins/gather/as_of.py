"""The as-of match: find the log row of each spine row by binary search in the log, which is sorted once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from featurestore.joins.gather.key_codes import PACKED, Keys
from featurestore.values.int64 import Flags, Numbers, to_arrow, to_numpy

NEVER = np.iinfo(np.int64).min
BATCH_ROWS = 1 << 14
NO_ROW = -1
"""The position that means no row."""
MAX_CODE = 1 << 62
"""Upper bound of the packed (key, time) code, so that it fits in int64."""


@dataclass(frozen=True)
class SortedSpine:
    """Keys and times of a spine in another order; `order` has its row numbers."""

    order: Numbers
    keys: Sequence[pa.ChunkedArray]
    times: pa.ChunkedArray


@dataclass(frozen=True)
class Matches:
    """For each spine row the position of its log row, NO_ROW for none, and that row's feature_timestamp, NEVER for none (`times` is None
    if the times must be read from the log).
    """

    positions: Numbers
    times: Numbers | None

    def spread(self, rows: Numbers, count: int) -> "Matches":
        """Those of `count` spine rows, of which only these rows were searched for."""
        positions, times = np.full(count, NO_ROW), None if self.times is None else np.full(count, NEVER)
        positions[rows] = self.positions
        if times is not None:
            times[rows] = self.times
        return Matches(positions, times)


class AsOf:
    """A log sorted by keys and times, in at most 16 bytes per row.

    `known` "now": of several rows with the same key and time, the latest created one is current. "then": a row is available from the
    later of its two times, and of the available rows, the one with the latest feature_timestamp is current. `created` may be None if it
    is not needed. Rows with a feature_timestamp before `since`, or at or after `until` (microseconds; None: no bound), are left out.
    `deleted` marks tombstones (None: there are none). A tombstone hides all earlier versions of its row from its created time on.
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
        key_codes = self._keys.of(keys)
        feature, created_us = to_micros(times), None if created is None else to_micros(created)
        included = key_codes >= 0
        if known == "then":
            included &= created_us != NEVER
        if since is not None:
            included &= feature >= since
        if until is not None:
            included &= feature < until
        included_rows = None if included.all() else np.flatnonzero(included)
        if included_rows is not None:
            key_codes, feature, created_us = (
                key_codes[included_rows],
                feature[included_rows],
                None if created_us is None else created_us[included_rows],
            )
            deleted = None if deleted is None else deleted[included_rows]
        from_when = np.maximum(feature, created_us) if known == "then" and created_us is not None else feature
        self._times = _Times(from_when, self._keys.size)
        codes = key_codes * self._times.size
        self._times.add_to(codes, from_when)
        if known == "then" and created_us is not None and deleted is not None and deleted.any():
            rows = _latest_live_so_far(codes, key_codes, feature, created_us, deleted)
            codes = np.sort(codes)
        elif known == "then" and created_us is not None:
            rows = _latest_so_far(np.argsort(codes, kind="stable"), np.lexsort((created_us, feature, key_codes)))
            codes = np.sort(codes)
        elif created_us is not None:
            rows = np.lexsort((created_us, codes))
            codes = codes[rows]
            if deleted is not None:
                living = _latest(codes) & ~deleted[rows]
                rows, codes = rows[living], codes[living]
        else:
            rows, codes = _in_order(codes, key_codes, self._keys.size)
        self._ordered = codes
        self._of_features = known != "then"
        rows = rows if included_rows is None else np.where(rows == NO_ROW, NO_ROW, included_rows[rows])
        self._rows = rows.astype(np.int32) if len(included) < PACKED else rows

    def near(self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> SortedSpine:
        """Sort a spine so that rows with close keys and times are adjacent, which makes the search several times faster."""
        # By the top 16 bits only: numpy sorts 16-bit integers by radix sort, and they suffice to bring rows of a key together.
        cut = max((self._keys.size * self._times.size).bit_length() - 16, 0)
        codes = self._codes(self._keys.of(keys), to_micros(times))
        order = np.argsort((np.maximum(codes, 0) >> cut).astype(np.uint16), kind="stable")
        return SortedSpine(order, [key.take(to_arrow(order)) for key in keys], times.take(to_arrow(order)))

    def match(self, spine: SortedSpine) -> Matches:
        """The match of each spine row, in the spine's original order."""
        rows = len(spine.order)
        positions, features = np.full(rows, NO_ROW), np.full(rows, NEVER) if self._of_features else None
        if not len(self._ordered):
            return Matches(positions, features)
        numbered, times = self._keys.of(spine.keys), to_micros(spine.times)
        # In batches that stay in the processor's cache.
        for start in range(0, rows, BATCH_ROWS):
            part, keys, moments = (column[start : start + BATCH_ROWS] for column in (spine.order, numbered, times))
            places = np.searchsorted(self._ordered, self._codes(keys, moments), side="right") - 1
            matched = (places >= 0) & (keys >= 0) & (moments != NEVER)
            np.maximum(places, 0, out=places)
            # The code found is at or before the one searched: it has the same key, unless it is below the key's smallest code.
            since = self._ordered[places] - keys * self._times.size
            matched &= since >= 0
            positions[part] = np.where(matched, self._rows[places], NO_ROW)
            if features is not None:
                features[part] = np.where(matched, self._times.at(since), NEVER)
        return Matches(positions, features)

    def _codes(self, keys: Numbers, times: Numbers) -> Numbers:
        return keys * self._times.size + self._times.of(times)


def to_micros(times: pa.ChunkedArray) -> Numbers:
    """Times as microseconds, NULL as NEVER."""
    return to_numpy(times.cast(pa.int64()), NEVER)


def _in_order(codes: Numbers, keys: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """Sort codes stably; returns the order and the sorted codes. `keys` are the codes' key numbers, all below `most`."""
    if _ascending(codes):
        return np.arange(len(codes)), codes
    # By keys only, with a radix sort of 16 bits at a time: files usually have the rows of a key sorted by time.
    rows = np.argsort(keys.astype(np.uint16), kind="stable")
    for bits in range(16, (most - 1).bit_length(), 16):
        rows = rows[np.argsort((keys >> bits).astype(np.uint16)[rows], kind="stable")]
    ordered = codes[rows]
    if not _ascending(ordered):
        rows = np.argsort(codes, kind="stable")
        ordered = codes[rows]
    return rows, ordered


def _latest_so_far(by_moment: Numbers, by_row: Numbers) -> Numbers:
    """For each row, sorted by the time from which it is available, the last row in row order among it and the rows before it.

    Both orders sort by key first, so the last row so far has the same key.
    """
    place = np.empty(len(by_row), np.int64)
    place[by_row] = np.arange(len(by_row))
    latest: Numbers = by_row[np.maximum.accumulate(place[by_moment])] if len(by_row) else by_row
    return latest


def _latest_live_so_far(codes: Numbers, keys: Numbers, feature: Numbers, made: Numbers, deleted: Flags) -> Numbers:
    """As `_latest_so_far`, for rows that end when a tombstone of the same key and feature_timestamp becomes known; NO_ROW for none.

    In time order, every version covers the positions from its own to that of its tombstone, or to the end of its key. The current row at a
    position is the last, in row order, of the versions that cover it.
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
    return np.where(covering == NO_ROW, NO_ROW, by_row[covering])


def _greatest_covering(count: int, lower: Numbers, upper: Numbers, values: Numbers) -> Numbers:
    """For each of the positions 0, 1, ... the greatest value of the ranges [lower, upper) that cover it, NO_ROW for none.

    Each range is covered by two overlapping ranges whose length is a power of two; these are halved down to single positions.
    """
    level = np.frexp(upper - lower)[1] - 1
    nodes = np.full(count, NO_ROW)
    for depth in range(int(level.max(initial=0)), -1, -1):
        width = 1 << depth
        halves = nodes.copy()
        np.maximum(halves[width:], nodes[:-width], out=halves[width:])
        nodes = halves
        chosen = level == depth
        np.maximum.at(nodes, lower[chosen], values[chosen])
        np.maximum.at(nodes, upper[chosen] - width, values[chosen])
    return nodes


def _latest(codes: Numbers) -> Flags:
    """A mask of the last of each run of equal codes."""
    last = np.ones(len(codes), np.bool_)
    last[:-1] = codes[1:] != codes[:-1]
    return last


def _ascending(values: Numbers) -> bool:
    return bool((values[1:] >= values[:-1]).all())


class _Times:
    """Encodes times as 0, 1, 2, ... from the log's first to its last time; earlier times are -1."""

    def __init__(self, times: Numbers, keys: int) -> None:
        self._first, last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self.size = last - self._first + 1
        self._moments: Numbers | None = None
        if self.size * keys >= MAX_CODE:
            self._moments = np.unique(times)
            self.size = len(self._moments)

    def of(self, times: Numbers) -> Numbers:
        """The code of the last encoded time at or before each of these times."""
        if self._moments is not None:
            return np.searchsorted(self._moments, times, side="right") - 1
        return np.clip(times, self._first - 1, self._first + self.size - 1) - self._first

    def add_to(self, codes: Numbers, times: Numbers) -> None:
        """Add the codes of the log's times in place: allocating new memory would take as long as the addition."""
        if self._moments is None:
            codes += times
            codes -= self._first
        else:
            codes += np.searchsorted(self._moments, times)

    def at(self, numbers: Numbers) -> Numbers:
        """The times of these codes; undefined for -1."""
        return numbers + self._first if self._moments is None else self._moments[np.clip(numbers, 0, self.size - 1)]
