"""The file that a chain is written to: its room is reserved when it is opened, so that a line is a copy in memory."""

import errno
import mmap
import os
from pathlib import Path

from featurestore import private
from featurestore.masking import logger_of

logger = logger_of(__name__)

LINE_FEED = 10


class SegmentFile:
    """A file of `capacity` bytes: lines, and then zeros. What is written survives a killed process, since the pages are the system's.

    A call of the system for each line takes ten times as long, and on a busy machine more than all else of an entry. A full disk is found
    when the room is reserved. `close` cuts the zeros off.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        """Continue a file after its last whole line, or create it. Raises: OSError."""
        private.make_file(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            content = path.read_bytes()
            self._capacity = max(capacity, len(content))
            os.posix_fallocate(self._descriptor, 0, self._capacity)
            self._map = mmap.mmap(self._descriptor, self._capacity)
        except OSError:
            os.close(self._descriptor)
            raise
        self.size = content.rfind(b"\n") + 1
        torn = len(content[self.size :].rstrip(b"\0"))
        if torn:
            logger.warning("the last line of %s is not whole; it was not answered, and is removed", path.name)
            self._map[self.size : self.size + torn] = bytes(torn)

    def append(self, line: bytes) -> bool:
        """Write a line and its line feed; False if the file has no room for it. Raises: OSError for one that no file has room for."""
        end = self.size + len(line)
        if end >= self._capacity:
            if not self.size:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return False
        self._map[self.size : end] = line
        # A line is whole when it ends: whatever a killed process had written of it before is none.
        self._map[end] = LINE_FEED
        self.size = end + 1
        return True

    def sync(self) -> None:
        """Wait until all lines are on the disk. Raises: OSError."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Cut the file after its last line, and close it."""
        self._map.close()
        os.ftruncate(self._descriptor, self.size)
        os.close(self._descriptor)
