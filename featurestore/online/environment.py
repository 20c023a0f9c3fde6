"""Manage LMDB files: open each once per process, close it around a fork, and stop access while its memory map grows."""

import errno
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec
import orjson

from featurestore import private
from featurestore.errors import NotReady, OutOfResources
from featurestore.online.lmdb_pages import damage
from featurestore.online.rw_lock import ReadWriteLock

T = TypeVar("T")
_FIRST_MAP_BYTES = 1 << 30
_READERS = 1024
_DAMAGE_ERRORS = (
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    msgspec.MsgspecError,
    orjson.JSONDecodeError,
    struct.error,
)
"""Errors of reading a file that is damaged, or that was not written by LMDB and this package."""


class Environment:
    """One LMDB file, shared by all stores of this process that use it, and opened on first use in each process."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        self._data_file = path / "data.mdb"
        self.writable = False
        self.users = 0
        self._map_bytes = map_bytes
        self._lock_rw = ReadWriteLock()
        self._writer = threading.Lock()
        self._lmdb: lmdb.Environment | None = None
        self._file: tuple[int, int] | None = None
        self._bytes = 0

    def read(self, function: Callable[[lmdb.Transaction], T], empty: T) -> T:
        """Call the function in a read transaction and return its result; `empty` if the store does not exist yet. Raises: NotReady."""
        while True:
            self._lock_rw.acquire_read()
            try:
                if self._lmdb is not None and (transaction := self._begin(self._lmdb)) is not None:
                    with transaction:
                        return function(transaction)
            except (lmdb.Error, *_DAMAGE_ERRORS) as error:
                raise self._failure(error) from error
            finally:
                self._lock_rw.release_read()
            if not self._refresh():
                return empty

    def write(self, function: Callable[[lmdb.Transaction], T], need_bytes: int = 0) -> T:
        """Call the function in a write transaction and return its result. It is called again after the map was enlarged.

        Raises: NotReady; OutOfResources if the disk is full.
        """
        with self._writer:
            while True:
                self._refresh()
                self._grow(need_bytes)
                try:
                    return self._attempt(function)
                except lmdb.MapFullError:
                    need_bytes = self._map_size()
                except lmdb.MapResizedError:
                    continue
                except (lmdb.Error, OSError, *_DAMAGE_ERRORS) as error:
                    if isinstance(error, lmdb.PanicError):  # The environment is unusable after a panic.
                        self.close()
                    raise self._failure(error) from error

    @contextmanager
    def errors(self) -> Iterator[None]:
        """A context for decoding values that were read. Raises: NotReady for invalid bytes."""
        try:
            yield
        except _DAMAGE_ERRORS as error:
            raise self._failure(error) from error

    def entries(self, transaction: lmdb.Transaction) -> int:
        """The number of entries in the file, as of a transaction."""
        assert self._lmdb is not None
        return int(transaction.stat(self._lmdb.open_db(None, transaction))["entries"])

    def close(self) -> None:
        """Close the file in this process; the next use opens it again."""
        with self._lock_rw.writing():
            self._close()

    def hold(self) -> None:
        """Before a fork, wait until the file is unused, and close it: a child that closes an inherited file breaks the parent's reads."""
        self._writer.acquire()
        self._lock_rw.acquire_write()
        self._close()

    def resume(self, *, child: bool) -> None:
        """After a fork, let both processes open the file again. The child gets new locks, since no thread in it would release the old."""
        if child:
            self._lock_rw, self._writer = ReadWriteLock(), threading.Lock()
        else:
            self._lock_rw.release_write()
            self._writer.release()

    def upgrade(self) -> None:
        """Open the file for writing from now on."""
        with self._lock_rw.writing():
            if not self.writable:
                self._close()
                self.writable = True

    def follow(self) -> None:
        """Close the file if it was replaced or truncated: the store may have been deleted and created again."""
        if self._lmdb is not None and not self._is_current():
            self.close()

    def open(self) -> bool:
        """Open the file unless it is open. False if it does not exist and may not be created. Raises: NotReady."""
        return self._refresh()

    def _attempt(self, function: Callable[[lmdb.Transaction], T]) -> T:
        self._lock_rw.acquire_read()
        try:
            if self._lmdb is None:
                raise NotReady(f"the online store at {self.path} was closed during the operation")
            self._lmdb.reader_check()
            with self._lmdb.begin(write=True) as transaction:
                result = function(transaction)
            status = _stat(self._data_file)
            self._bytes = max(self._bytes, 0 if status is None else status.st_size)
            return result
        finally:
            self._lock_rw.release_read()

    def _begin(self, environment: lmdb.Environment) -> lmdb.Transaction | None:
        """A read transaction; None if another process has enlarged the map."""
        try:
            return environment.begin()
        except lmdb.MapResizedError:
            return None

    def _refresh(self) -> bool:
        """Open the file, or adopt the map size set by another process."""
        if not self.users:
            raise NotReady(f"the online store at {self.path} is closed")
        with self._lock_rw.writing():
            if self._lmdb is not None and self._is_current():
                self._lmdb.set_mapsize(0)
                return True
            self._close()
            if not self.writable and not _has_content(self._data_file):
                return False
            try:
                if self.writable:
                    private.make_folder(self.path)
                self._bytes = self._check_file()
                self._lmdb = lmdb.open(
                    str(self.path),
                    map_size=self._map_bytes,
                    readonly=not self.writable,
                    create=self.writable,
                    max_readers=_READERS,
                    max_spare_txns=8,
                    mode=private.FILE_MODE,
                )
            except (lmdb.Error, OSError) as error:
                raise self._failure(error) from error
            status = _stat(self._data_file)
            self._file = None if status is None else _identity(status)
            return True

    def _check_file(self) -> int:
        """The size of the file, 0 if there is none. Raises: NotReady if it is damaged."""
        file = self._data_file
        if not _has_content(file):
            return 0
        if (problem := damage(file)) is not None:
            raise self._damaged(problem)
        return file.stat().st_size

    def _is_current(self) -> bool:
        """Whether the open file is still the one at the path, and was not truncated: LMDB itself never shortens a file."""
        status = _stat(self._data_file)
        if status is None or self._file != _identity(status) or status.st_size < self._bytes:
            return False
        self._bytes = status.st_size
        return True

    def _map_size(self) -> int:
        return int(self._lmdb.info()["map_size"]) if self._lmdb is not None else self._map_bytes

    def _grow(self, need_bytes: int) -> None:
        """Enlarge the map to fit `need_bytes` more than is used."""
        with self._lock_rw.writing():
            if self._lmdb is None:
                return
            info, page = self._lmdb.info(), int(self._lmdb.stat()["psize"])
            used, size = (int(info["last_pgno"]) + 1) * page, int(info["map_size"])
            new_size = size
            while new_size < used + need_bytes:
                new_size *= 2
            if new_size > size:
                self._lmdb.set_mapsize(new_size)

    def _close(self) -> None:
        if self._lmdb is not None:
            self._lmdb.close()
            self._lmdb = None

    def _failure(self, error: Exception) -> NotReady | OutOfResources:
        if isinstance(error, lmdb.DiskError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space" in str(error):
            return OutOfResources(f"the disk of the online store at {self.path} is full; nothing was written", resource="disk")
        if isinstance(error, _DAMAGE_ERRORS):
            return self._damaged(f"{type(error).__name__}: {error}")
        message = f"the online store at {self.path} cannot be used ({error}); check that it is a writable folder"
        return NotReady(message, path=str(self.path))

    def _damaged(self, problem: str) -> NotReady:
        message = f"the online store at {self.path} is damaged or was written by another program: data.mdb: {problem}"
        return NotReady(f"{message}; delete the folder and run featurestore publish to fill it again", path=str(self.path))


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def _stat(path: Path) -> os.stat_result | None:
    """The file's status; None if it does not exist."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Device and inode of a file."""
    return status.st_dev, status.st_ino


class Environments:
    """The open environments of this process, by path. The map of a new file has `first_map_bytes` and is doubled when full."""

    def __init__(self, first_map_bytes: int = _FIRST_MAP_BYTES) -> None:
        self._first_map_bytes = first_map_bytes
        self._lock = threading.Lock()
        self._by_path: dict[Path, Environment] = {}
        self._hooked = False

    def acquire(self, path: Path, *, writable: bool) -> Environment:
        """The environment of this path; return it with `release`. Raises: NotReady."""
        path = path.expanduser().resolve()
        with self._lock:
            if not self._hooked:
                os.register_at_fork(before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child)
                self._hooked = True
            environment = self._by_path.get(path)
            if environment is None:
                environment = self._by_path[path] = Environment(path, self._first_map_bytes)
            if writable:
                environment.upgrade()
            environment.users += 1
        try:
            environment.follow()
            environment.open()
        except NotReady:
            self.release(environment)
            raise
        return environment

    def release(self, environment: Environment) -> None:
        """Return an environment; the last user closes the file."""
        with self._lock:
            environment.users -= 1
            if not environment.users:
                environment.close()
                self._by_path.pop(environment.path, None)

    def _before(self) -> None:
        self._lock.acquire()
        for environment in self._by_path.values():
            environment.hold()

    def _after_in_parent(self) -> None:
        for environment in self._by_path.values():
            environment.resume(child=False)
        self._lock.release()

    def _after_in_child(self) -> None:
        for environment in self._by_path.values():
            environment.resume(child=True)
        self._lock = threading.Lock()


# One for the whole process, since a file that is opened twice in a process loses its locks.
ENVIRONMENTS = Environments()
