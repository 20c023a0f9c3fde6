"""Rows that lie with a server, as a file of this machine for as long as somebody reads it."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from featurestore.pipelines.training_sets.files import Files


def fetched(rows: pa.RecordBatchReader, table: str, snapshot_id: int) -> Files:
    """The rows in the folder for temporary files; the file goes with the object that is returned, or with the process."""
    folder = tempfile.mkdtemp(prefix="featurestore-")
    path = Path(folder) / "rows.parquet"
    files = Files([str(path)], table, snapshot_id, pafs.LocalFileSystem(), rows.schema)
    weakref.finalize(files, _remove, folder, os.getpid())
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
    return files


def _remove(folder: str, process: int) -> None:
    """Not by the end of a worker that was forked off: the others still read."""
    if os.getpid() == process:
        shutil.rmtree(folder)
