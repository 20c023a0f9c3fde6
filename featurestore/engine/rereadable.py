"""Rows that a query can read several times, from a stream that is opened again for each read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Rereadable:
    """An Arrow stream that can be opened repeatedly. `open_batches` is called for the first row, not for the schema alone."""

    schema: pa.Schema
    open_batches: Callable[[], Iterable[pa.RecordBatch]]

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches()).__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterable[pa.RecordBatch]:
        yield from self.open_batches()
