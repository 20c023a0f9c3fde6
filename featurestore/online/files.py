"""The files of an LMDB environment: what is known of them before LMDB maps them, and errors of a full disk."""

import errno
import os
from pathlib import Path

from featurestore import private
from featurestore.errors import OutOfResources

READERS = 1024
"""Most read transactions of all processes at a time."""
_LOCK_BYTES = 65_664
"""Size of LMDB's lock file with a slot for each of READERS."""
_BLOCK = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def has_content(path: Path) -> bool:
    """Whether the file exists and is not empty."""
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def status_of(path: Path | str) -> os.stat_result | None:
    """The file's status; None if it does not exist."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """Device and inode of a file."""
    return status.st_dev, status.st_ino


def reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file all its blocks. LMDB maps it with holes, and filling a hole on a full disk kills the process (SIGBUS).

    Call this only while the environment is not open in this process: closing the file releases LMDB's locks of the process. Raises:
    OSError; with ENOSPC if the disk is full.
    """
    status = status_of(path)
    if status is not None and status.st_blocks * _BLOCK >= status.st_size >= _LOCK_BYTES:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private.FILE_MODE)
    except OSError as error:
        if error.errno == errno.EROFS:  # On a file system that is read-only, LMDB uses no lock file.
            return
        raise
    try:
        os.posix_fallocate(descriptor, 0, max(_LOCK_BYTES, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def is_full_disk(error_number: int | None) -> bool:
    """Whether a write failed because the disk, a quota or the limit of a file's size is reached; an `errno`, None for other errors."""
    return error_number in _FULL


def full_disk(where: Path | str, undone: str) -> OutOfResources:
    """The error for a disk without space; `undone` says what was not done."""
    return OutOfResources(f"the disk is full at {where}; {undone}", resource="disk")
