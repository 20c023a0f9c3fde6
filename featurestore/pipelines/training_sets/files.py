"""The Parquet files of a training set, for every reader of Parquet or Arrow there is."""

from collections.abc import Iterable
from copy import copy
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs


class Files(list[str]):
    """Where the files lie, in the order of their rows: paths, or addresses such as s3://bucket/key.

    They hold exactly the rows of `table` (in the catalog) at `snapshot_id`: the training set's columns, the row number `__fs_row`,
    and, where there is a split, `__fs_split`. `schema` has their types; None: those of the first file.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        table: str,
        snapshot_id: int,
        filesystem: pafs.FileSystem | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        super().__init__(addresses)
        self.table, self.snapshot_id, self.schema = table, snapshot_id, schema
        self._filesystem = filesystem

    @property
    def filesystem(self) -> pafs.FileSystem:
        """What reads the files under their `names`: with the store's own settings, over HTTP with those of this process."""
        if self._filesystem is None:
            # Only now: it may ask the network where a bucket lies.
            self._filesystem = pafs.FileSystem.from_uri(self[0])[0] if self else pafs.LocalFileSystem()
        return self._filesystem

    @property
    def names(self) -> list[str]:
        """What the file system calls them."""
        return [address.partition("://")[2] or address for address in self]

    def dataset(self) -> Any:
        """The rows for readers of Arrow, such as DuckDB and polars, with nothing left to configure. Reads the files' footers.

        Its fragments are row groups: pyarrow holds what it has read of a fragment until that is done, and a file may be larger than
        memory.
        """
        datasets = _datasets()
        form = datasets.ParquetFileFormat()
        schema = self.schema
        if schema is None:
            schema = form.inspect(self.names[0], self.filesystem) if self else pa.schema([])
        whole = datasets.FileSystemDataset.from_paths(self.names, schema=schema, format=form, filesystem=self.filesystem)
        groups = [group for file in whole.get_fragments() for group in file.split_by_row_group()]
        return datasets.FileSystemDataset(groups, schema, form, self.filesystem)

    def reopened(self) -> "Files":
        """The same with connections of its own."""
        again = None if self._filesystem is None else copy(self._filesystem)
        return Files(self, self.table, self.snapshot_id, again, self.schema)


def _datasets() -> Any:
    """pyarrow's datasets, which import pandas where it is installed: half a second that only these readers are to wait for."""
    return import_module("pyarrow.dataset")
