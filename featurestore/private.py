"""Create folders and files that only their owner can access, whatever the umask: a home folder has users' rows and logs."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Create a folder and its parents, unless they exist. Existing folders are not changed."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(FOLDER_MODE)
        path.chmod(FOLDER_MODE)
    if not path.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(path))


def make_folder_like_parent(path: Path) -> None:
    """Create a folder: for the owner only if its parent is, else according to the umask."""
    existing = next(parent for parent in path.parents if parent.exists())
    if existing.stat().st_mode & OTHERS:
        path.mkdir(parents=True)
    else:
        make_folder(path)


def match_folder_mode(folder: Path) -> None:
    """Restrict the files that a library wrote to a folder to the owner, if the folder is."""
    if folder.stat().st_mode & OTHERS:
        return
    for path in folder.rglob("*"):
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def make_file(path: Path) -> None:
    """Create an empty file unless it exists, for a library to open next."""
    with suppress(FileExistsError):
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
        try:
            os.fchmod(number, FILE_MODE)
        finally:
            os.close(number)


def write(path: Path, content: bytes) -> None:
    """Write a new file."""
    make_file(path)
    path.write_bytes(content)


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file for the block; yields False if another process has it. The file and its folder are created."""
    make_folder(path.parent)
    make_file(path)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def owner_only_umask() -> Iterator[None]:
    """Restrict all files that this process creates in the block, libraries' too, to the owner; for processes that only work on a store."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def accessible_to_others(folder: Path, most: int) -> Iterator[Path]:
    """Yield what other users can access in a folder, after checking at most `most` entries; nothing if the folder itself is private."""
    if not _is_open(folder):
        return
    yield folder
    for looked, path in enumerate(folder.rglob("*")):
        if looked >= most:
            return
        if _is_open(path):
            yield path


def _is_open(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(status.st_mode) and bool(status.st_mode & OTHERS)
