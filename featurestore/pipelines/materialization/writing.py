"""Write feature rows to data files of a feature table, sorted, with one month per file."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featurestore.compiler.chunk_rows import cast_rows, in_file_order, twins
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import Query
from featurestore.compiler.relations import parquet_files
from featurestore.engine.results import count
from featurestore.engine.session import Session
from featurestore.lakehouse import writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.row_groups import group_rows
from featurestore.lakehouse.table import Table


@dataclass(frozen=True)
class FeatureFiles:
    """Writes rows of a session to data files of a feature table, whose `columns` are given with their DuckDB types."""

    session: Session
    table: Table
    keys: Sequence[str]
    columns: Mapping[str, str]

    def write(
        self,
        query: Query,
        files: DataFiles,
        month_rows: int,
        *more: str,
        of_one_month: bool = False,
        alone: bool = False,
        deletions: bool = False,
    ) -> int | None:
        """Write the rows of a query, ordered by day, keys, feature_timestamp and the columns `more`. Returns their number.

        `month_rows` is the estimated number of rows of a month; `of_one_month`: all rows are in the same one. `alone`: each row must be
        the only one with its keys and feature_timestamp; if not, the files are deleted and None is returned. `deletions`: some rows are
        tombstones, which have true in the column DELETED. Raises: OutOfResources.
        """
        columns = {**self.columns, DELETED: "BOOLEAN"} if deletions else self.columns
        rows = in_file_order(cast_rows(columns, query), self.keys, more)
        ids = {name: field_id for name, field_id in writes.field_ids(self.table).items() if name in columns}
        month_of = None if of_one_month else "feature_timestamp"
        folder = files.folder()
        with tempfile.TemporaryDirectory(prefix="upload-", dir=self.session.folder) as near:
            written, paths = self.session.write(rows, folder or Path(near) / "rows", ids, group_rows(month_rows), month_of)
            if alone and self._has_twins(paths):
                if folder is not None:
                    shutil.rmtree(folder)
                return None
            files.take(paths, written)
        return written

    def _has_twins(self, paths: Sequence[Path]) -> bool:
        """Whether two neighboring rows of a sorted file share keys and feature_timestamp."""
        files = (self.session.add("__fs_written", parquet_files(str(path))) for path in paths)
        return any(count(self.session, twins(file, self.keys)) for file in files)
