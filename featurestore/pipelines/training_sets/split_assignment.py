"""Assign the rows of a training set to the parts of its split."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.compiler.compared_rows import key_hashes
from featurestore.engine.session import Session
from featurestore.pipelines.training_sets.splits import Split, cumulative_fractions
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.int64 import row_numbers


class SplitAssigner:
    """Assigns each row of a spine to a part, and counts the rows of each part."""

    def __init__(self, session: Session, split: Split, timestamp: str) -> None:
        self._session, self._split, self._timestamp = session, split, timestamp
        self._counts: Counter[str | None] = Counter()

    def assign(self, rows: pa.RecordBatch) -> pa.Array:
        """The name of each row's part, in order; NULL for a row in no part.

        By shares: the columns are cast to text (NULL as character 0), joined by character 31 and hashed with MD5; the last 8 bytes are
        read as a little-endian number, whose range the parts divide in their order. So rows with equal keys are in the same part of
        every training set with the same split. By time: the first part that ends after the row's time; NULL for a NULL time.
        """
        names = pa.array([name for name, _ in self._split.parts], pa.string())
        if self._split.by:
            limits = np.array([min(round(limit * 2**64), 2**64 - 1) for limit in cumulative_fractions(self._split)[:-1]], np.uint64)
            parts = names.take(pa.array(np.searchsorted(limits, self._hashes(rows), side="right")))
        else:
            ends = [times.LAST + 1 if end is None else int(end) for _, end in self._split.parts]
            moments = rows.column(self._timestamp).cast(pa.int64()).fill_null(times.LAST + 1)
            index = np.searchsorted(np.array(ends), moments.to_numpy(), side="right")
            parts = names.take(pa.array(index, mask=index == len(ends)))
        self._counts.update({entry["values"]: entry["counts"] for entry in parts.value_counts().to_pylist()})
        return parts

    def summary(self) -> dict[str, Any]:
        """The manifest entry: the split, the number of rows of each part so far, and of rows in no part."""
        rows = {name: self._counts[name] for name, _ in self._split.parts}
        return {**self._split.to_dict(), "rows": rows, "unassigned": self._counts[None]}

    def _hashes(self, rows: pa.RecordBatch) -> "np.ndarray[Any, np.dtype[np.uint64]]":
        columns = {f"c{index}": rows.column(name) for index, name in enumerate(self._split.by)}
        keys = self._session.add("keys", pa.table({**columns, "n": row_numbers(rows.num_rows)}))
        table = self._session.batches(key_hashes(keys, list(columns))).read_all()
        hashes: np.ndarray[Any, np.dtype[np.uint64]] = table.column("h").to_numpy()
        return hashes


@contextmanager
def open_split_assigner(runtime: Runtime, split: Split | None, timestamp: str) -> Iterator[SplitAssigner | None]:
    """An assigner for the duration of the block; None without a split."""
    if split is None:
        yield None
        return
    with runtime.engine.session() as session:
        yield SplitAssigner(session, split, timestamp)
