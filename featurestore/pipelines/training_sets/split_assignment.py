"""Which part of a split each row is in, told batch by batch."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.engine.session import Session
from featurestore.pipelines.training_sets.splits import Split, running
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.int64 import numbers


class Places:
    """Tells the part of each row of a spine, and counts them."""

    def __init__(self, session: Session, split: Split, timestamp: str) -> None:
        self._session, self._split, self._timestamp = session, split, timestamp
        self._counts: Counter[str | None] = Counter()

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """The part of each of these rows of the spine, in order; NULL for a row that is in none.

        By shares: of the MD5 of the columns' texts, joined by the character 31, NULL being the character 0, the last 8 bytes are read
        as a little-endian number. The parts cut its range in their order, so that equal keys are in the same part of every training
        set that is split alike. By time: the first part that ends after the row's time; none for NULL.
        """
        names = pa.array([name for name, _ in self._split.parts], pa.string())
        if self._split.by:
            limits = np.array([min(round(limit * 2**64), 2**64 - 1) for limit in running(self._split)[:-1]], np.uint64)
            found = names.take(pa.array(np.searchsorted(limits, self._hashes(rows), side="right")))
        else:
            ends = [times.LAST + 1 if end is None else int(end) for _, end in self._split.parts]
            moments = rows.column(self._timestamp).cast(pa.int64()).fill_null(times.LAST + 1)
            index = np.searchsorted(np.array(ends), moments.to_numpy(), side="right")
            found = names.take(pa.array(index, mask=index == len(ends)))
        self._counts.update({entry["values"]: entry["counts"] for entry in found.value_counts().to_pylist()})
        return found

    def counted(self) -> dict[str, Any]:
        """The manifest's words: the split, with the rows of each part so far, and those in none."""
        rows = {name: self._counts[name] for name, _ in self._split.parts}
        return {**self._split.to_dict(), "rows": rows, "unassigned": self._counts[None]}

    def _hashes(self, rows: pa.RecordBatch) -> "np.ndarray[Any, np.dtype[np.uint64]]":
        columns = {f"c{index}": rows.column(name) for index, name in enumerate(self._split.by)}
        texts = ", ".join(f"coalesce(CAST({column} AS VARCHAR), chr(0))" for column in columns)
        self._session.add("keys", pa.table({**columns, "n": numbers(rows.num_rows)}))
        hashed = self._session.batches(f"SELECT md5_number_lower(concat_ws(chr(31), {texts})) AS h FROM keys ORDER BY n").read_all()
        found: np.ndarray[Any, np.dtype[np.uint64]] = hashed.column("h").to_numpy()
        return found


@contextmanager
def places(runtime: Runtime, split: Split | None, timestamp: str) -> Iterator[Places | None]:
    """Where rows are placed while it is open; None without a split."""
    if split is None:
        yield None
        return
    with runtime.engine.session() as session:
        yield Places(session, split, timestamp)
