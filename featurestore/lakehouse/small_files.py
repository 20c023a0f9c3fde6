"""Small local files of the store's own tables, kept as they were read: there is one for each commit, and many verbs read them all."""

import os
from collections.abc import Callable

import pyarrow as pa

from featurestore.values.recent import Recent

SMALL_BYTES = 32_768
"""Bytes of the largest file that is kept."""
SMALL_ROWS = 200
"""Rows of such a file, which bound what compressed bytes may become."""
KEPT_FILES = 2048

Key = tuple[str, int, int, int, str]


class SmallFiles:
    """What was read of the latest KEPT_FILES files. May be used from several threads."""

    def __init__(self) -> None:
        self._kept: Recent[Key, list[pa.RecordBatch]] = Recent(KEPT_FILES)

    def read(self, path: str, columns: str, read: Callable[[], list[pa.RecordBatch]]) -> list[pa.RecordBatch]:
        """The batches of a file; `columns` says which columns are read, with their types. Data files never change: one that was replaced or
        damaged, as its status shows, is read again. Raises: FileNotFoundError; as `read`.
        """
        status = os.stat(path)
        key = (path, status.st_ino, status.st_mtime_ns, status.st_size, columns)
        batches = self._kept.get(key)
        return self._kept.keep(key, read()) if batches is None else batches


SMALL_FILES = SmallFiles()
"""Those of this process."""
