"""The files that recipients download: copies of data files with today's column names, in a folder of bounded size."""

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import private
from featurestore.errors import OutOfResources
from featurestore.settings import Settings
from featurestore.sharing.signatures import LIFE_SECONDS
from featurestore.values.humanize import format_size

NAME = re.compile(r"[0-9a-f]{64}\.parquet")
"""What a file may be called: nothing else is looked for on disk."""
KEPT_SECONDS = 2 * LIFE_SECONDS
"""How long a file is certainly kept after its address was given out, or was read."""
STALE_SECONDS = 7 * 86_400
"""Age from which files that nobody asks for are removed."""
MEASURED_SECONDS = 5.0
"""How long the free space of the folder is remembered; what other processes write meanwhile is not counted."""
ROWS_A_GROUP = 131_072
_PARTIAL = ".part"


@dataclass(frozen=True)
class Copy:
    """A file of the folder: its name, its size in bytes and its number of rows."""

    name: str
    size: int
    rows: int


class Copies:
    """The folder of copies, which all processes of a server share."""

    def __init__(self, settings: Settings) -> None:
        self.folder = copies_folder(settings)
        self._limit = settings.sharing_cache_bytes()
        self._lock = threading.Lock()
        self._room, self._measured = 0, -MEASURED_SECONDS

    def find(self, name: str) -> Copy | None:
        """A copy that was made before, which is then kept for another while; None if there is none."""
        path = self.folder / name
        with suppress(FileNotFoundError):
            # In this order: what is touched is not evicted before it is looked at.
            os.utime(path)
            return Copy(name, path.stat().st_size, pq.read_metadata(path).num_rows)
        return None

    def path(self, name: str) -> Path | None:
        """Where a copy is; None for a name that is none of a copy, and for one that is gone."""
        path = self.folder / name if NAME.fullmatch(name) else None
        return path if path is not None and path.is_file() else None

    def write(self, name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Copy:
        """Make a copy, unless another process makes it first. Raises: OutOfResources if the folder would be larger than its limit."""
        private.make_folder(self.folder)
        room = self._measure()
        partial = self.folder / f"{secrets.token_hex(16)}{_PARTIAL}"
        private.make_file(partial)
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for batch in batches:
                    for start in range(0, batch.num_rows, ROWS_A_GROUP):
                        writer.write_batch(batch.slice(start, ROWS_A_GROUP))
                    if partial.stat().st_size > room:
                        raise OutOfResources(
                            f"the files for recipients of shares take more than {format_size(self._limit)}, the limit of sharing_cache;"
                            f" raise it, or try again when those of the last {KEPT_SECONDS // 60} minutes are not needed any more",
                            resource="disk",
                            limit=self._limit,
                        )
            rows = pq.read_metadata(partial).num_rows
            partial.replace(self.folder / name)
        finally:
            partial.unlink(missing_ok=True)
        size = (self.folder / name).stat().st_size
        with self._lock:
            self._room -= size
        return Copy(name, size, rows)

    def _measure(self) -> int:
        """How many bytes may be written. Files are evicted and measured once in a while: there may be thousands."""
        with self._lock:
            if time.monotonic() - self._measured >= MEASURED_SECONDS or self._room <= 0:
                self._room, self._measured = self._limit - self._evict(), time.monotonic()
            return self._room

    def _evict(self) -> int:
        """Remove files that nobody asked for lately, and the least recently used ones while there are more than half of the limit.

        Returns the bytes of those that are left.
        """
        now, held = time.time(), []
        for path in self._entries():
            with suppress(FileNotFoundError):
                status = path.stat()
                held.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in held)
        for used, size, path in sorted(held):
            if now - used < KEPT_SECONDS or (total <= self._limit // 2 and now - used < STALE_SECONDS):
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _entries(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if NAME.fullmatch(path.name) or path.suffix == _PARTIAL]


def copies_folder(settings: Settings) -> Path:
    """The folder of copies in the home folder."""
    return settings.home_path() / "sharing" / "files"


def remove_copies(settings: Settings) -> None:
    """Remove all copies, for when rows must not be kept anywhere. They are made again when they are asked for."""
    folder = copies_folder(settings)
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink(missing_ok=True)
