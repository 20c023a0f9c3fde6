"""Download rows from a server to a temporary file, which is deleted when nobody reads it any more."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from featurestore.pipelines.training_sets.files import Files


def download(rows: pa.RecordBatchReader, table: str, snapshot_id: int) -> Files:
    """Write the rows to a temporary Parquet file, deleted with the returned object or at the end of the process."""
    folder = tempfile.mkdtemp(prefix="featurestore-")
    path = Path(folder) / "rows.parquet"
    files = Files([str(path)], table, snapshot_id, pafs.LocalFileSystem(), rows.schema)
    weakref.finalize(files, _remove, folder, os.getpid())
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
    return files


def _remove(folder: str, process: int) -> None:
    """Delete the folder, unless this is a forked worker that ends: the other processes still read it."""
    if os.getpid() == process:
        shutil.rmtree(folder)
