"""The lock of the process that fills an LMDB store: a locked file that contains the progress."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from featurestore import private
from featurestore.online.files import full_disk, is_full_disk

_BYTES = 512


class FillLock:
    """A file that one process at a time locks. The operating system unlocks it when the process ends, also after a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def claim(self) -> Iterator[Callable[[bytes], None] | None]:
        """Lock the file during the block. Yields a function that replaces its content; None if another process has locked it.

        Raises: OutOfResources if the disk is full.
        """
        with _disk(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private.FILE_MODE)
        try:
            if not _lock(descriptor, fcntl.LOCK_EX):
                yield None
                return

            # The content always has the same length, so one write replaces all of it, and needs space on the disk only the first time.
            with _disk(self._path):
                os.posix_fallocate(descriptor, 0, _BYTES)
            _replace_content(descriptor, b"")
            yield partial(_replace_content, descriptor)
        finally:
            os.close(descriptor)

    def content(self) -> bytes | None:
        """The content of the file; None if no process has locked it."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _lock(descriptor, fcntl.LOCK_SH) else os.pread(descriptor, _BYTES, 0).rstrip()
        finally:
            os.close(descriptor)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_full_disk(error.errno):
            raise full_disk(path.parent, "the online store is not filled") from error
        raise


def _replace_content(descriptor: int, data: bytes) -> None:
    os.pwrite(descriptor, data.ljust(_BYTES), 0)


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
