"""Encode rows as Arrow IPC streams or Parquet, batch by batch."""

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Format = Literal["arrow", "parquet"]
MEDIA_TYPES = {"arrow": "application/vnd.apache.arrow.stream", "parquet": "application/vnd.apache.parquet"}


class OutputBuffer:
    """An in-memory file from which the bytes are taken after each write."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        """Remove and return the bytes written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def tell(self) -> int:
        """The number of bytes written so far."""
        return self._position

    def flush(self) -> None:
        """Nothing to do: there is no buffer."""

    def close(self) -> None:
        """Mark the file as closed; its remaining bytes can still be taken."""
        self.closed = True


def chunks(rows: pa.RecordBatchReader, form: Format) -> Iterator[bytes]:
    """Encode rows in a format, batch by batch."""
    buffer = OutputBuffer()
    sink = pa.PythonFile(buffer, "w")
    writer = pa.ipc.new_stream(sink, rows.schema) if form == "arrow" else pq.ParquetWriter(sink, rows.schema, compression="zstd")
    with writer:
        yield buffer.take()
        for batch in rows:
            writer.write_batch(batch)
            yield buffer.take()
    yield buffer.take()
