"""Content of objects that never change, kept in memory: metadata files as a whole, ends of data files, where footers are, and columns."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock

import pyarrow as pa

KEPT_BYTES, KEPT_COLUMN_BYTES = 64 << 20, 64 << 20
"""How many bytes a process keeps of metadata and ends, and of columns."""
LARGEST_BYTES, LARGEST_COLUMN_BYTES = 8 << 20, 32 << 20
"""Larger content is not kept."""

Name = tuple[str, str, str]
"""The endpoint, bucket and key of an object."""


@dataclass(frozen=True)
class Content:
    """The bytes of an object from `start`, and its `size`."""

    size: int
    start: int
    bytes: pa.Buffer


class KeptObjects:
    """What was used last, by the `Name` of an object, or that and a range of it. May be used from several threads."""

    def __init__(self, most_bytes: int = KEPT_BYTES, largest: int = LARGEST_BYTES) -> None:
        self._lock, self._most, self._largest, self._bytes = Lock(), most_bytes, largest, 0
        self._kept: OrderedDict[Hashable, Content] = OrderedDict()

    def get(self, name: Hashable) -> Content | None:
        """What is kept of an object; None if nothing is."""
        with self._lock:
            content = self._kept.get(name)
            if content is not None:
                self._kept.move_to_end(name)
            return content

    def keep(self, name: Hashable, content: Content) -> None:
        """Keep the content of an object, unless it is too large, and drop what was used longest ago."""
        if content.bytes.size > self._largest:
            return
        with self._lock:
            self._drop(name)
            self._kept[name] = content
            self._bytes += content.bytes.size
            while self._bytes > self._most:
                self._drop(next(iter(self._kept)))

    def drop(self, name: Hashable) -> None:
        """Forget an object, because it was deleted."""
        with self._lock:
            self._drop(name)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, name: Hashable) -> None:
        content = self._kept.pop(name, None)
        if content is not None:
            self._bytes -= content.bytes.size


KEPT, KEPT_COLUMNS = KeptObjects(), KeptObjects(KEPT_COLUMN_BYTES, LARGEST_COLUMN_BYTES)
"""Those of this process: metadata and ends; ranges of columns, each by name, start and end."""
