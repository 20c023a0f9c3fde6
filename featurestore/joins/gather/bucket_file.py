"""Record batches in buckets, in an unnamed temporary file from which any bucket can be read, by several threads at once."""

import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from featurestore.joins.gather.workspace import Workspace


class BucketFile:
    """A temporary file of a join, deleted with the object."""

    def __init__(self, workspace: Workspace, schema: pa.Schema, buckets: int) -> None:
        self.schema, self._workspace = schema, workspace
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=workspace.session.folder, buffering=0)  # noqa: SIM115 - closed by the finalizer
        weakref.finalize(self, self._file.close)
        self._size = 0
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]
        self.rows = [0] * buckets
        """The number of rows of each bucket."""

    def add(self, bucket: int, batch: pa.RecordBatch) -> None:
        """Append rows to a bucket. Raises: OutOfResources when the disk is full, or the join's limit is exceeded."""
        data = batch.serialize()
        self._workspace.count(data.size)
        with self._workspace.writing():
            written = 0
            while written < data.size:
                written += self._file.write(data[written:])
        self._places[bucket].append((self._size, data.size))
        self._size += data.size
        self.rows[bucket] += batch.num_rows

    def bytes(self, bucket: int) -> int:
        """The size of a bucket."""
        return sum(size for _, size in self._places[bucket])

    def read(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a bucket in the order in which they were added."""
        for start, size in self._places[bucket]:
            yield pa.ipc.read_record_batch(pa.py_buffer(os.pread(self._file.fileno(), size, start)), self.schema)
