"""Folders and files for their owner alone, whatever the umask says: what lies in a home folder is rows, and who asked for what."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, where they are not there. One that is there stays as it is."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(FOLDER_MODE)
        path.chmod(FOLDER_MODE)
    if not path.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(path))


def make_folder_alike(path: Path) -> None:
    """Make a new folder: for its owner alone where the one that it comes to lie in is so, else as the umask says."""
    held = next(parent for parent in path.parents if parent.exists())
    if held.stat().st_mode & OTHERS:
        path.mkdir(parents=True)
    else:
        make_folder(path)


def make_alike(folder: Path) -> None:
    """Make what a library put into a folder its owner's, where the folder is."""
    if folder.stat().st_mode & OTHERS:
        return
    for path in folder.rglob("*"):
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def make_file(path: Path) -> None:
    """Make an empty file where there is none, for whatever library opens it next."""
    with suppress(FileExistsError):
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
        try:
            os.fchmod(number, FILE_MODE)
        finally:
            os.close(number)


def write(path: Path, content: bytes) -> None:
    """Write a file that is not there."""
    make_file(path)
    path.write_bytes(content)


@contextmanager
def keeping_to_owner() -> Iterator[None]:
    """Nothing that this process makes meanwhile is for others, libraries' files too: for processes that do nothing but work on a store."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(folder: Path, most: int) -> Iterator[Path]:
    """What others may get at in a folder, at most so many entries looked at; nothing where the folder itself keeps them out."""
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
        found = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(found.st_mode) and bool(found.st_mode & OTHERS)
