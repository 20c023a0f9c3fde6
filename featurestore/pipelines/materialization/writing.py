"""Write the rows of a chunk to data files of the feature table, sorted, with one month per file."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from featurestore.compiler.chunk_rows import cast_rows, in_file_order, twins
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import Query
from featurestore.compiler.relations import parquet_files
from featurestore.engine.results import count
from featurestore.lakehouse import writes
from featurestore.lakehouse.data_files import DataFiles, group_rows
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.compute import Task


def write(task: Task, chunk: Chunk, query: Query, files: DataFiles, *more: str, alone: bool = False, deletions: bool = False) -> int | None:
    """Write the rows of a query, ordered by day, keys, feature_timestamp and the columns `more`. Returns their number.

    `alone`: each row must be the only one with its keys and feature_timestamp; if not, the files are deleted and None is returned.
    `deletions`: some rows are tombstones, which have true in the column DELETED. Raises: OutOfResources.
    """
    columns = {**task.columns, DELETED: "BOOLEAN"} if deletions else task.columns
    rows = in_file_order(cast_rows(columns, query), task.keys, more)
    ids = {name: field_id for name, field_id in writes.field_ids(task.table).items() if name in columns}
    month_of = None if chunk.of_one_month else "feature_timestamp"
    folder = files.folder()
    with tempfile.TemporaryDirectory(prefix="upload-", dir=task.session.folder) as near:
        written, paths = task.session.write(rows, folder or Path(near) / "rows", ids, group_rows(chunk.month_rows), month_of)
        if alone and _has_twins(task, paths):
            if folder is not None:
                shutil.rmtree(folder)
            return None
        files.take(paths, written)
    return written


def _has_twins(task: Task, paths: Sequence[Path]) -> bool:
    """Whether two neighboring rows of a sorted file share keys and feature_timestamp."""
    files = (task.session.add("__fs_written", parquet_files(str(path))) for path in paths)
    return any(count(task.session, twins(file, task.keys)) for file in files)
