"""One LMDB file of this process: opened when it is used, closed around a fork, and not accessed while its memory map grows."""

import errno
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
from featurestore.online.files import READERS, has_content, identity_of, is_full_disk, reserve_lock_file, status_of
from featurestore.online.lmdb.pages import damage
from featurestore.online.lmdb.rw_lock import ReadWriteLock

T = TypeVar("T")
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
        # Each read asks for the file's status, which takes twice as long for a Path.
        self._data_name = str(self._data_file)
        self.writable = False
        self.users = 0
        self._map_bytes = map_bytes
        self._lock_rw = ReadWriteLock()
        self._writer = threading.Lock()
        self._lmdb: lmdb.Environment | None = None
        self._file: tuple[int, int] | None = None
        self._bytes = 0

    def read(self, function: Callable[[lmdb.Transaction], T], empty: T) -> T:
        """Call the function in a read transaction and return its result; `empty` if the store does not exist yet.

        The file's size is checked first: reading a page beyond the end of the file kills the process (SIGBUS). So the function should
        be short. Raises: NotReady; OutOfResources if the map does not fit in memory.
        """
        self.follow()
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

        Raises: NotReady; OutOfResources if the disk is full, or if the map does not fit in memory. Nothing was written then.
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

    def freed_pages(self) -> tuple[int, int, int]:
        """The number of pages that hold no entries, up to the last used one, the bytes of a page, and the number of the last one."""
        with self._lock_rw.writing():
            if self._lmdb is None:
                raise NotReady(f"the online store at {self.path} was closed during the operation")
            tree, last = self._lmdb.stat(), int(self._lmdb.info()["last_pgno"])
            used = 2 + int(tree["branch_pages"]) + int(tree["leaf_pages"]) + int(tree["overflow_pages"])
            return max(0, last + 1 - used), int(tree["psize"]), last

    def used_bytes(self) -> int:
        """The bytes of the file up to its last used page; the file itself is larger."""
        assert self._lmdb is not None
        return (int(self._lmdb.info()["last_pgno"]) + 1) * int(self._lmdb.stat()["psize"])

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
            status = status_of(self._data_file)
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
                self._resize(0)
                return True
            self._close()
            if not self.writable and not has_content(self._data_file):
                return False
            try:
                if self.writable:
                    private.make_folder(self.path)
                self._bytes = self._check_file()
                reserve_lock_file(self.path / "lock.mdb")
                self._lmdb = lmdb.open(
                    str(self.path),
                    map_size=self._map_bytes,
                    readonly=not self.writable,
                    create=self.writable,
                    max_readers=READERS,
                    max_spare_txns=8,
                    mode=private.FILE_MODE,
                )
            except (lmdb.Error, OSError) as error:
                raise self._failure(error) from error
            status = status_of(self._data_file)
            self._file = None if status is None else identity_of(status)
            return True

    def _check_file(self) -> int:
        """The size of the file, 0 if there is none. Raises: NotReady if it is damaged."""
        file = self._data_file
        if not has_content(file):
            return 0
        if (problem := damage(file)) is not None:
            raise self._damage_error(problem)
        return file.stat().st_size

    def _is_current(self) -> bool:
        """Whether the open file is still the one at the path, and was not truncated: LMDB itself never shortens a file."""
        status = status_of(self._data_name)
        if status is None or self._file != identity_of(status) or status.st_size < self._bytes:
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
                self._resize(new_size)

    def _resize(self, map_bytes: int) -> None:
        """Map the file with another size; 0 is the size that another process has set. Raises: OutOfResources."""
        assert self._lmdb is not None
        try:
            self._lmdb.set_mapsize(map_bytes)
        except lmdb.Error as error:
            # LMDB has unmapped the file by now, and would crash in the next read.
            self._close()
            raise OutOfResources(
                f"the map of the online store at {self.path} cannot be enlarged ({error}); nothing was written. Raise the limit of the"
                " process's address space (ulimit -v)",
                resource="memory",
            ) from error

    def _close(self) -> None:
        if self._lmdb is not None:
            self._lmdb.close()
            self._lmdb = None

    def _failure(self, error: Exception) -> NotReady | OutOfResources:
        number = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
        # LMDB's error for a page that was written in part is EIO.
        if isinstance(error, lmdb.DiskError) or number == errno.EIO or is_full_disk(number):
            message = f"the disk of the online store at {self.path} is full or fails ({error}); nothing was written"
            return OutOfResources(message, resource="disk")
        if isinstance(error, _DAMAGE_ERRORS):
            return self._damage_error(f"{type(error).__name__}: {error}")
        message = f"the online store at {self.path} cannot be used ({error}); check that it is a writable folder"
        return NotReady(message, path=str(self.path))

    def _damage_error(self, problem: str) -> NotReady:
        message = f"the online store at {self.path} is damaged or was written by another program: data.mdb: {problem}"
        return NotReady(f"{message}; delete the folder and run featurestore publish to fill it again", path=str(self.path))
