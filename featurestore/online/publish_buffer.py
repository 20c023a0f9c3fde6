"""A buffer for the encoded rows of a publish, in memory and, beyond a limit, in a temporary file."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.online.files import full_disk, is_full_disk

_SCHEMA = pa.schema([("key", pa.binary()), ("row", pa.binary())])
MEMORY_BYTES = 256 << 20
"""Encoded rows that an edition keeps in memory; the others go to a temporary file."""
TIME_BYTES = 8
"""The first bytes of a row, which encode its feature_timestamp and sort like it."""


class PublishBuffer:
    """Pairs of key and row arrays, which can be iterated repeatedly. The file has no name, so none remains after a crash.

    `oldest` and `newest` are the minimum and maximum feature_timestamp of all rows, encoded as in a row; empty without rows.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.bytes = 0
        self.memory_used = 0
        self.oldest = self.newest = b""
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._batches: list[pa.RecordBatch] = []
        self._file: IO[bytes] | None = None

    def fill(self, pairs: Iterable[tuple[pa.Array, pa.Array]]) -> None:
        """Add all pairs. Raises: OutOfResources if the disk is full."""
        writer = None
        try:
            for keys, rows in pairs:
                batch = pa.record_batch([keys, rows], schema=_SCHEMA)
                self.bytes += batch.nbytes
                self._note_times(rows)
                if self.bytes <= self._memory_bytes:
                    self._batches.append(batch)
                    self.memory_used += batch.nbytes
                    continue
                if writer is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close()
                    writer = pa.ipc.new_stream(self._file, _SCHEMA)
                writer.write_batch(batch)
            if writer is not None:
                writer.close()
        except OSError as error:
            if is_full_disk(error.errno):
                raise full_disk(self._folder or tempfile.gettempdir(), "nothing was published") from error
            raise

    def _note_times(self, rows: pa.Array) -> None:
        if not len(rows):
            return
        times = _leading_times(rows)
        oldest, newest = (int(end).to_bytes(TIME_BYTES, "big") for end in (times.min(), times.max()))
        self.oldest = min(self.oldest, oldest) if self.oldest else oldest
        self.newest = max(self.newest, newest)

    def __iter__(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        for batch in self._batches:
            yield batch.column(0), batch.column(1)
        if self._file is not None:
            self._file.seek(0)
            for batch in pa.ipc.open_stream(self._file):
                yield batch.column(0), batch.column(1)

    def close(self) -> None:
        """Delete the rows."""
        self._batches.clear()
        if self._file is not None:
            self._file.close()


def _leading_times(rows: pa.Array) -> npt.NDArray[np.uint64]:
    """The number that the first bytes of each row encode; an array of rows has no NULL. A tenth of the time that slices of bytes take."""
    _, offsets, data = rows.buffers()
    starts = np.frombuffer(offsets, np.int32)[rows.offset : rows.offset + len(rows)]
    content = np.frombuffer(data, np.uint8)
    times = np.zeros(len(rows), np.uint64)
    for byte in range(TIME_BYTES):
        times = (times << np.uint64(8)) | content[starts + byte]
    return times
