"""Rows on the wire: Arrow IPC streams and Parquet, a batch at a time in either direction."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import RequestError

BATCH_ROWS = 65_536

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


class Upload(io.FileIO):
    """A file to read from, closed when nobody holds it any more: a request may be refused before its rows are looked at."""

    def __del__(self) -> None:
        self.close()


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


def read_file(file: IO[bytes]) -> pa.RecordBatchReader:
    """The rows of an uploaded file: Parquet, Arrow IPC file or Arrow IPC stream, told apart by how it begins; read as they are wanted.

    The caller may close the file. Raises: RequestError, at once or with the batch that cannot be read.
    """
    own = Upload(os.dup(file.fileno()))
    own.seek(0)
    head = own.read(6)
    own.seek(0)
    with _whole():
        schema, batches = _opened(own, head)
    return pa.RecordBatchReader.from_batches(schema, _read(batches))


def _opened(file: IO[bytes], head: bytes) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if head.startswith(b"PAR1"):
        parquet = pq.ParquetFile(file)
        return parquet.schema_arrow, parquet.iter_batches(BATCH_ROWS)
    if head == b"ARROW1":
        whole = pa.ipc.open_file(file)
        return whole.schema, (whole.get_batch(index) for index in range(whole.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, iter(stream)


def _read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _whole():
        yield from batches


@contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise RequestError(
            "the spine's file is neither whole Parquet nor an Arrow IPC file or stream", field="spine", reason=str(error)
        ) from error
