"""The lock of the process that fills an LMDB store: a locked file that contains the progress."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from featurestore import private

_BYTES = 512


class FillLock:
    """A file that one process at a time locks. The operating system unlocks it when the process ends, also after a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def claim(self) -> Iterator[Callable[[bytes], None] | None]:
        """Lock the file during the block. Yields a function that replaces its content; None if another process has locked it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private.FILE_MODE)
        try:
            if not _lock(descriptor, fcntl.LOCK_EX):
                yield None
                return

            os.ftruncate(descriptor, 0)
            # The content always has the same length, so one write replaces all of it.
            yield partial(_replace_content, descriptor)
        finally:
            os.close(descriptor)

    def shown(self) -> bytes | None:
        """The content of the file; None if no process has locked it."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _lock(descriptor, fcntl.LOCK_SH) else os.pread(descriptor, _BYTES, 0).rstrip()
        finally:
            os.close(descriptor)


def _replace_content(descriptor: int, data: bytes) -> None:
    os.pwrite(descriptor, data.ljust(_BYTES), 0)


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
