"""Digest, count and measure the rows of a training set while they are written, on threads beside the writing one."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from featurestore.pipelines.training_sets.digest import Digest
from featurestore.pipelines.training_sets.measures import Statistics, countable, in_memory
from featurestore.pipelines.training_sets.split_assignment import SplitAssigner
from featurestore.values.int64 import row_numbers

OnRowsWritten = Callable[[int], None]
"""Called with the number of rows written so far."""
MAX_PENDING = 16
"""How many batches may wait for their digest."""


class RowObserver:
    """Counts, digests and measures rows. A context manager that waits for its threads at the end and, after an error, cancels them.

    The columns named in `measured` are measured while rows are written if all rows fit in `memory` bytes.
    """

    def __init__(
        self,
        schema: pa.Schema,
        features: Sequence[str],
        measured: Sequence[str],
        assigner: SplitAssigner | None,
        *,
        memory: int,
        threads: int | None,
    ) -> None:
        self._schema = schema
        self._digest = Digest(schema)
        self._nulls = dict.fromkeys(features, 0)
        self._rows = 0
        self._columns = [name for name in measured if countable(schema.field(name).type)]
        self._assigner = assigner
        self._memory = memory
        self._digesting: deque[Future[None]] = deque()
        self._measuring: dict[str, Future[Statistics]] = {}
        # A single thread, since a digest takes its batches in order.
        self._digester = ThreadPoolExecutor(1)
        self._measurers = ThreadPoolExecutor(threads or os.cpu_count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in (self._digester, self._measurers):
            pool.shutdown(cancel_futures=error_type is not None)

    def number_rows(
        self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, on_rows_written: OnRowsWritten | None
    ) -> Iterator[pa.RecordBatch]:
        """Observe the batches and add the row number and, with a split, the part of each row."""
        for batch in self._read_ahead(batches):
            self._digesting.append(self._digester.submit(self._digest.update, batch))
            if len(self._digesting) > MAX_PENDING:
                self._digesting.popleft().result()
            for name in self._nulls:
                self._nulls[name] += batch.column(name).null_count
            added = [row_numbers(batch.num_rows, self._rows), *([] if self._assigner is None else [self._assigner.assign(batch)])]
            self._rows += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)
            if on_rows_written is not None:
                on_rows_written(self._rows)

    def results(self) -> dict[str, Any]:
        """The manifest entries that are known after the last row."""
        while self._digesting:
            self._digesting.popleft().result()
        split = {} if self._assigner is None else {"split": self._assigner.summary()}
        return {"rows": self._rows, "nulls": self._nulls, "digest": self._digest.table(), "column_digests": self._digest.columns(), **split}

    def statistics(self) -> Mapping[str, Statistics]:
        """The statistics by column; empty if the rows did not fit in memory."""
        return {name: future.result() for name, future in self._measuring.items()}

    def _read_ahead(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, read ahead as far as memory allows. If all of them fit, measuring starts before the first is passed on."""
        buffer: deque[pa.RecordBatch] = deque()
        memory = self._memory
        for batch in batches:
            buffer.append(batch)
            memory -= batch.nbytes
            if memory < 0:
                break
        else:
            rows = pa.Table.from_batches(buffer, self._schema)
            self._measuring = {name: self._measurers.submit(in_memory, rows.column(name)) for name in self._columns}
        while buffer:
            yield buffer.popleft()
        yield from batches
