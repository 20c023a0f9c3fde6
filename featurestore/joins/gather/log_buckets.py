"""A log that does not fit in memory, divided on disk by a hash of its keys into buckets that fit: rows of a key are in one bucket."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.join_rows import row_hashes
from featurestore.compiler.point_in_time import ROW
from featurestore.engine.watch import current
from featurestore.joins.gather.as_of import NEVER, NO_ROW, Matches, to_micros
from featurestore.joins.gather.bucket_file import BucketFile
from featurestore.joins.gather.log_columns import LogRows
from featurestore.joins.gather.log_times import LogTimes
from featurestore.joins.gather.row_groups import TIME
from featurestore.joins.gather.workspace import Workspace
from featurestore.values.int64 import Numbers, int64_scalar, row_numbers, to_arrow, to_numpy

SORT_BYTES = 64
"""Bytes per row while a log is sorted, without its keys."""
COPIES = 3
"""How many times the keys and times of a log are in memory while it is sorted."""
THREADS = 2
"""How many buckets are matched at once."""
LOT_ROWS = 1 << 20
LOT_BYTES = 256
"""At most LOT_ROWS are divided at once, and about as many as fit in the workspace with so many bytes each."""
MAX_BUCKETS = 1 << 12

Bound = int | None


class LogBuckets:
    """The rows of a log with a feature_timestamp in [since, until) (microseconds; None: no bound), in buckets that fit in the workspace.

    A bucket that needs more, since a key has many rows, is matched in slices of time.
    """

    def __init__(self, workspace: Workspace, rows: LogRows, keys: Sequence[str], times: LogTimes, since: Bound, until: Bound) -> None:
        self._workspace, self._keys, self._times = workspace, list(keys), times
        self._room = max(workspace.room // THREADS, 1)
        self._file: BucketFile | None = None
        self._count = 1
        for first, lot in rows.lots([*keys, *times.columns], min(workspace.room // LOT_BYTES + 1, LOT_ROWS)):
            if self._file is None:
                # Half of what fits, since buckets differ.
                needed = rows.rows * (SORT_BYTES + lot.nbytes * COPIES // max(lot.num_rows, 1))
                self._count = min(max(needed * 2 // self._room, 1), MAX_BUCKETS)
            self._add(lot.append_column(ROW, row_numbers(lot.num_rows, first)), since, until)

    def match(self, keys: Sequence[pa.ChunkedArray], times: pa.ChunkedArray) -> Matches:
        """The match of each of these keys at its time, as `AsOf.match`."""
        positions = np.full(len(times), NO_ROW)
        matched_times = None if self._times.known == "then" else np.full(len(times), NEVER)
        if self._file is None:
            return Matches(positions, matched_times)
        keys = [key.cast(self._file.schema.field(name).type) for key, name in zip(keys, self._keys, strict=True)]
        order, ends = self._divide(keys)
        rows = self._file.rows

        def match_bucket(bucket: int) -> None:
            asked = order[ends[bucket] : ends[bucket + 1]]
            if not len(asked) or not rows[bucket]:
                return
            for log in self._slices(bucket):
                picked = to_arrow(asked)
                as_of = self._times.sort([log.column(key) for key in self._keys], log)
                found = as_of.match(as_of.near([key.take(picked) for key in keys], times.take(picked)))
                there = found.positions != NO_ROW
                positions[asked[there]] = to_numpy(log.column(ROW), NO_ROW)[found.positions[there]]
                if matched_times is not None and found.times is not None:
                    matched_times[asked[there]] = found.times[there]
                asked = asked[~there]
                if not len(asked):
                    return

        with ThreadPoolExecutor(THREADS) as threads:
            for _ in threads.map(match_bucket, range(self._count)):
                current().check()
        return Matches(positions, matched_times)

    def _add(self, lot: pa.Table, since: Bound, until: Bound) -> None:
        lot = _between(lot, since, until)
        order, ends = self._divide([lot.column(key) for key in self._keys])
        lot = lot.combine_chunks().take(to_arrow(order))
        if self._file is None:
            self._file = BucketFile(self._workspace, lot.schema, self._count)
        for bucket in np.flatnonzero(np.diff(ends)).tolist():
            for batch in lot.slice(ends[bucket], ends[bucket + 1] - ends[bucket]).to_batches():
                self._file.add(bucket, batch)

    def _divide(self, keys: Sequence[pa.ChunkedArray]) -> tuple[Numbers, Numbers]:
        """The order that brings the rows of each bucket together, and where each begins in it, and the last one ends."""
        names = [f"__fs_k{index}" for index in range(len(keys))]
        session = self._workspace.session
        rows = session.add("hashed", pa.table([row_numbers(len(keys[0])), *keys], [ROW, *names]))
        hashes = np.empty(len(keys[0]), np.uint64)
        for batch in session.batches(row_hashes(rows, names)):
            hashes[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
        buckets = (hashes % np.uint64(self._count)).astype(np.uint16)
        return np.argsort(buckets, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(buckets, minlength=self._count))])

    def _slices(self, bucket: int) -> Iterator[pa.Table]:
        """Yield the rows of a bucket, at once if they fit in memory, else those of the latest times first."""
        assert self._file is not None
        needed = self._file.rows[bucket] * SORT_BYTES + self._file.bytes(bucket) * COPIES
        cuts = self._cuts(bucket, -(-needed // self._room)) if needed > self._room else []
        for until, since in pairwise([None, *cuts, None]):
            lots = (pa.Table.from_batches([batch]) for batch in self._file.read(bucket))
            yield pa.concat_tables(_between(lot, since, until) for lot in lots)

    def _cuts(self, bucket: int, slices: int) -> list[int]:
        """Times, the latest first, that cut a bucket into about so many slices of as many rows."""
        assert self._file is not None
        step = max(slices // 8, 1)
        sample = [batch.column(TIME).cast(pa.int64()).to_numpy()[::step] for batch in self._file.read(bucket)]
        ordered = np.sort(np.concatenate(sample))
        places = np.arange(1, slices) * len(ordered) // slices
        return sorted({int(time) for time in ordered[places]}, reverse=True)


def _between(lot: pa.Table, since: Bound, until: Bound) -> pa.Table:
    """The rows of a lot in a range of time."""
    if since is None and until is None:
        return lot
    times = to_micros(lot.column(TIME))
    inside = (times >= (NEVER if since is None else since)) & (True if until is None else times < until)
    return lot.filter(pc.equal(to_arrow(inside.astype(np.int64)), int64_scalar(1)))
