"""The file that a chain is written to: its room is reserved when it is opened, so that a line is a copy in memory."""

import errno
import mmap
import os
from collections.abc import Sequence
from os import SEEK_END, lseek
from pathlib import Path

from featurestore import private
from featurestore.masking import logger_of

logger = logger_of(__name__)


class SegmentCutShort(OSError):
    """Somebody else cut the file short, or removed it: its pages must not be written to, which would end this process."""


def is_reserved(descriptor: int, path: Path, size: int) -> bool:
    """Whether an open file still has the size that was reserved for it, and is the one at this path. Raises: OSError."""
    own = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return own.st_ino == there.st_ino and own.st_size >= size


class SegmentFile:
    """A file of `capacity` bytes: lines, and then zeros. What is written survives a killed process, since the pages are the system's.

    A call of the system for each line takes ten times as long, and on a busy machine more than all else of an entry. A full disk is found
    when the room is reserved. `close` cuts the zeros off.

    A page that is behind the end of the file must not be touched: its system sends SIGBUS. So the end is looked at before each group of
    lines, which is the cheapest call of the system, and takes twice as long as the copy of one.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        """Continue a file after its last whole line, or create it. Raises: OSError."""
        private.make_file(path)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            content = path.read_bytes()
            self._capacity = max(capacity, len(content))
            os.posix_fallocate(self._descriptor, 0, self._capacity)
            self._map = mmap.mmap(self._descriptor, self._capacity)
        except OSError:
            os.close(self._descriptor)
            raise
        self.size = whole_bytes(content)
        torn = len(content[self.size :].rstrip(b"\0"))
        if torn:
            logger.warning("the last line of %s is not whole; it was not answered, and is removed", path.name)
            self._map[self.size : self.size + torn] = bytes(torn)

    def append(self, lines: Sequence[bytes]) -> int:
        """Write lines with their line feeds at the end; the number of those that the file has room for. Each is a copy of its own: one of
        several, of which a part is missing, would be a damaged file.

        Raises: SegmentCutShort; OSError if no file has room for the first one.
        """
        size, capacity, pages = self.size, self._capacity, self._map
        if lseek(self._descriptor, 0, SEEK_END) < capacity:
            raise SegmentCutShort(f"{self._path.name} was cut short after entries were written to it")
        written = 0
        for line in lines:
            end = size + len(line)
            if end > capacity:
                break
            pages[size:end] = line
            size = self.size = end
            written += 1
        if not size:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return written

    def is_intact(self) -> bool:
        """Whether the file is as long as it was reserved, and still at its path. Raises: OSError."""
        return is_reserved(self._descriptor, self._path, self._capacity)

    def sync(self) -> None:
        """Wait until all lines are on the disk. Raises: OSError."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Cut the file after its last line, and close it. One that was cut short stays as it is."""
        self._map.close()
        if lseek(self._descriptor, 0, SEEK_END) >= self._capacity:
            os.ftruncate(self._descriptor, self.size)
        os.close(self._descriptor)


def whole_bytes(content: bytes) -> int:
    """The bytes of the whole lines at the beginning of a file. One that is being copied, or whose process was killed meanwhile, has no line
    feed yet, or zeros before it: a copy has no order.
    """
    end = content.rfind(b"\n") + 1
    last = content.rfind(b"\n", 0, max(end - 1, 0)) + 1
    return last if b"\0" in content[last:end] else end
