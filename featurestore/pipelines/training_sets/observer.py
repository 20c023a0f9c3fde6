"""What is said of a training set's rows, found on their way into the table, on threads beside the one that writes."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.measures import Statistics, countable, in_memory
from featurestore.pipelines.training_sets.split_assignment import Places
from featurestore.values.int64 import numbers

Report = Callable[[int], None]
"""Told how many rows of a training set are written so far."""
AHEAD = 16
"""So many batches may wait for their digest."""


class Tally:
    """Counts, digests and measures; a context manager, which waits for what has begun and, after a failure, begins no more.

    `measured` names the columns to measure, which happens while rows are written if all of them take `room` bytes at most.
    """

    def __init__(
        self, schema: pa.Schema, features: Sequence[str], measured: Sequence[str], placed: Places | None, *, room: int, threads: int | None
    ) -> None:
        self._schema = schema
        self._digest = Digest(schema)
        self._nulls = dict.fromkeys(features, 0)
        self._rows = 0
        self._columns = [name for name in measured if countable(schema.field(name).type)]
        self._places = placed
        self._room = room
        self._digesting: deque[Future[None]] = deque()
        self._measuring: dict[str, Future[Statistics]] = {}
        # One thread alone: a digest is fed in order.
        self._digester = ThreadPoolExecutor(1)
        self._measurers = ThreadPoolExecutor(threads or os.cpu_count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in (self._digester, self._measurers):
            pool.shutdown(cancel_futures=kind is not None)

    def numbered(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, report: Report | None) -> Iterator[pa.RecordBatch]:
        """The batches with the row number, and the part of the split where there is one, added."""
        for batch in self._ahead(batches):
            self._digesting.append(self._digester.submit(self._digest.update, batch))
            if len(self._digesting) > AHEAD:
                self._digesting.popleft().result()
            for name in self._nulls:
                self._nulls[name] += batch.column(name).null_count
            own = [numbers(batch.num_rows, self._rows), *([] if self._places is None else [self._places.of(batch)])]
            self._rows += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, *own], schema=schema)
            if report is not None:
                report(self._rows)

    def results(self) -> dict[str, Any]:
        """The manifest's entries that are known after the last row."""
        while self._digesting:
            self._digesting.popleft().result()
        split = {} if self._places is None else {"split": self._places.counted()}
        return {"rows": self._rows, "nulls": self._nulls, "digest": self._digest.table(), "column_digests": self._digest.columns(), **split}

    def statistics(self) -> Mapping[str, Statistics]:
        """What was measured on the way, by column; nothing where the rows were too many to be held."""
        return {name: found.result() for name, found in self._measuring.items()}

    def _ahead(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches, of which those that there is room for are there before the first is passed on."""
        held: deque[pa.RecordBatch] = deque()
        room = self._room
        for batch in batches:
            held.append(batch)
            room -= batch.nbytes
            if room < 0:
                break
        else:
            rows = pa.Table.from_batches(held, self._schema)
            self._measuring = {name: self._measurers.submit(in_memory, rows.column(name)) for name in self._columns}
        while held:
            yield held.popleft()
        yield from batches
