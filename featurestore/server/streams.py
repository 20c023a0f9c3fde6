"""Rows on their way to a client: Arrow IPC streams and Parquet, a batch at a time."""

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Format = Literal["arrow", "parquet"]
MEDIA_TYPES = {"arrow": "application/vnd.apache.arrow.stream", "parquet": "application/vnd.apache.parquet"}


class Outlet:
    """A file to write into whose bytes are taken out again as they come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Take bytes in."""
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def tell(self) -> int:
        """How many bytes were written in all."""
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """No more will be written; what is left can still be taken."""
        self.closed = True


def chunks(rows: pa.RecordBatchReader, form: Format) -> Iterator[bytes]:
    """The rows as bytes in the given form, a batch at a time."""
    outlet = Outlet()
    sink = pa.PythonFile(outlet, "w")
    writer = pa.ipc.new_stream(sink, rows.schema) if form == "arrow" else pq.ParquetWriter(sink, rows.schema, compression="zstd")
    with writer:
        yield outlet.taken()
        for batch in rows:
            writer.write_batch(batch)
            yield outlet.taken()
    yield outlet.taken()
