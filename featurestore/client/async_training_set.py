"""A training set behind a server, read from asyncio: its methods run in threads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.training_set import TrainingSet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AsyncTrainingSet:
    """One row for each spine row. Attributes that need no rows are available at once; methods that read rows are awaited.

    `blocking` is the same training set for threads, with all other attributes of `TrainingSet`, such as `plan` and `to_torch`.
    """

    blocking: TrainingSet

    @property
    def id(self) -> str:
        """See TrainingSet.id."""
        return self.blocking.id

    @property
    def name(self) -> str:
        """See TrainingSet.name."""
        return self.blocking.name

    @property
    def digest(self) -> str:
        """See TrainingSet.digest."""
        return self.blocking.digest

    @property
    def snapshots(self) -> dict[str, int | None]:
        """See TrainingSet.snapshots."""
        return self.blocking.snapshots

    @property
    def manifest(self) -> dict[str, Any]:
        """See TrainingSet."""
        return self.blocking.manifest

    @property
    def sql(self) -> str:
        """See TrainingSet.sql."""
        return self.blocking.sql

    @property
    def features(self) -> list[str]:
        """See TrainingSet.features."""
        return self.blocking.features

    def split(self, part: str) -> "AsyncTrainingSet":
        """See TrainingSet.split."""
        return AsyncTrainingSet(self.blocking.split(part))

    async def to_batches(self, rows: int = 65_536, columns: Sequence[str] | None = None) -> AsyncIterator[pa.RecordBatch]:
        """See TrainingSet.to_batches; batches are read while they are asked for."""
        reader = await asyncio.to_thread(self.blocking.reader, columns)
        # A cancelled task leaves its thread reading, which must end before the reader is closed.
        lock = threading.Lock()

        def read() -> pa.RecordBatch | None:
            with lock:
                return next(reader, None)

        def close() -> None:
            with lock:
                reader.close()

        try:
            while (batch := await asyncio.to_thread(read)) is not None:
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)
        finally:
            await asyncio.to_thread(close)

    async def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """See TrainingSet.to_arrow."""
        return await asyncio.to_thread(self.blocking.to_arrow, columns)

    async def to_pandas(self, columns: Sequence[str] | None = None, *, numpy: bool = False) -> "pd.DataFrame":
        """See TrainingSet.to_pandas."""
        return await asyncio.to_thread(self.blocking.to_pandas, columns, numpy=numpy)

    async def files(self) -> Files:
        """See TrainingSet.files."""
        return await asyncio.to_thread(self.blocking.files)

    async def statistics(self) -> dict[str, Any]:
        """See TrainingSet.statistics."""
        return await asyncio.to_thread(self.blocking.load_statistics)
