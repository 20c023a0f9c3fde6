"""The Parquet files of a training set, for any reader of Parquet or Arrow."""

from collections.abc import Iterable
from copy import copy
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs


class Files(list[str]):
    """The locations of the files, in the order of their rows: paths, or URIs such as s3://bucket/key.

    They contain exactly the rows of `table` (in the catalog) at `snapshot_id`: the training set's columns, the row number `__fs_row`
    and, with a split, `__fs_split`. `schema` is their Arrow schema; None for that of the first file.
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
        """The file system to read `names` with: configured by the store's settings; over HTTP, by those of this process."""
        if self._filesystem is None:
            # Deferred, since it may make a network request for a bucket's region.
            self._filesystem = pafs.FileSystem.from_uri(self[0])[0] if self else pafs.LocalFileSystem()
        return self._filesystem

    @property
    def names(self) -> list[str]:
        """The paths of the files within `filesystem`."""
        return [address.partition("://")[2] or address for address in self]

    def dataset(self) -> Any:
        """A pyarrow dataset for readers such as DuckDB and polars, ready to use. Reads the files' footers.

        Its fragments are row groups: pyarrow keeps a fragment in memory until it is read completely, and a file may be larger than
        memory.
        """
        datasets = _datasets()
        file_format = datasets.ParquetFileFormat()
        schema = self.schema
        if schema is None:
            schema = file_format.inspect(self.names[0], self.filesystem) if self else pa.schema([])
        whole = datasets.FileSystemDataset.from_paths(self.names, schema=schema, format=file_format, filesystem=self.filesystem)
        groups = [group for file in whole.get_fragments() for group in file.split_by_row_group()]
        return datasets.FileSystemDataset(groups, schema, file_format, self.filesystem)

    def reopen(self) -> "Files":
        """A copy with its own connections."""
        again = None if self._filesystem is None else copy(self._filesystem)
        return Files(self, self.table, self.snapshot_id, again, self.schema)


def _datasets() -> Any:
    """The module pyarrow.dataset. It imports pandas if installed, which takes half a second that only these readers should pay."""
    return import_module("pyarrow.dataset")
