"""Writing the rows of a chunk to data files of their feature table, by the engine, sorted, a month in each."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from featurestore.compiler.expressions import quoted
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.relations import parquet_files
from featurestore.compiler.storage import cast_sql, file_order
from featurestore.lakehouse import writes
from featurestore.lakehouse.data_files import DataFiles, group_rows
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.compute import Task, count

_WRITTEN = "__fs_written"


def write(task: Task, chunk: Chunk, select: str, files: DataFiles, *more: str, alone: bool = False, deletions: bool = False) -> int | None:
    """Write the rows of a SELECT day by day, in the order of keys, feature_timestamp and the columns `more`; returns how many there are.

    `alone`: only if no two share keys and feature_timestamp, which is seen afterwards, in the one file there is; else
    nothing is left and None returned. `deletions`: some are tombstones, as the column DELETED tells. Raises: OutOfResources.
    """
    columns = {**task.columns, DELETED: "BOOLEAN"} if deletions else task.columns
    sql = f"{cast_sql(columns, f'({select})')} ORDER BY {file_order(task.keys, *more)}"
    ids = {name: found for name, found in writes.field_ids(task.table).items() if name in columns}
    month_of = None if chunk.of_one_month else "feature_timestamp"
    folder = files.folder()
    with tempfile.TemporaryDirectory(prefix="upload-", dir=task.session.folder) as near:
        rows, paths = task.session.write(sql, folder or Path(near) / "rows", ids, group_rows(chunk.month_rows), month_of)
        if alone and _has_twins(task, paths):
            if folder is not None:
                shutil.rmtree(folder)
            return None
        files.take(paths, rows)
    return rows


def _has_twins(task: Task, paths: Sequence[Path]) -> bool:
    """Whether neighbours in a sorted file share keys and feature_timestamp."""
    for path in paths:
        task.session.add(_WRITTEN, parquet_files(str(path)))
        columns = [quoted(column) for column in [*task.keys, "feature_timestamp"]]
        same = " AND ".join(f"{column} = lag({column}) OVER ()" for column in columns)
        if count(task.session, f"(SELECT {same} AS twin FROM {_WRITTEN}) WHERE twin"):
            return True
    return False
