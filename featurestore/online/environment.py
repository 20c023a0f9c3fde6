"""LMDB wants a file opened once per process, closed around a fork and idle while its map grows: an environment sees to it."""

import errno
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lmdb
import msgspec

from featurestore import private
from featurestore.errors import NotReady, OutOfResources
from featurestore.online.lmdb_pages import damage
from featurestore.online.rw_lock import Gate

T = TypeVar("T")
_FIRST_MAP_BYTES = 1 << 30
_READERS = 1024
_OF_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    msgspec.MsgspecError,
    struct.error,
)
"""What reading a file comes to that holds something else than LMDB wrote there, or than we did."""


class Environment:
    """One LMDB file in this process, shared by all stores on it and opened at first use, in each process of its own."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        self.writable = False
        self.users = 0
        self._map_bytes = map_bytes
        self._gate = Gate()
        self._writer = threading.Lock()
        self._lmdb: lmdb.Environment | None = None
        self._file: tuple[int, int] | None = None
        self._bytes = 0

    def read(self, function: Callable[[lmdb.Transaction], T], empty: T) -> T:
        """What the function returns for one consistent state; `empty` while there is no store. Raises: NotReady."""
        while True:
            self._gate.enter()
            try:
                if self._lmdb is not None and (transaction := self._begin(self._lmdb)) is not None:
                    with transaction:
                        return function(transaction)
            except (lmdb.Error, *_OF_DAMAGE) as error:
                raise self._failure(error) from error
            finally:
                self._gate.leave()
            if not self._refresh():
                return empty

    def write(self, function: Callable[[lmdb.Transaction], T], need_bytes: int = 0) -> T:
        """What the function returns, its changes made as one step; it is called again when the map was too small.

        Raises: NotReady, OutOfResources when the disk is full.
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
                except (lmdb.Error, OSError, *_OF_DAMAGE) as error:
                    if isinstance(error, lmdb.PanicError):  # What was opened is of no use any more.
                        self.close()
                    raise self._failure(error) from error

    def close(self) -> None:
        """Close the file in this process; it opens again at the next use."""
        with self._gate.alone():
            self._close()

    def hold(self) -> None:
        """Before a fork: close the file, once nobody uses it. A child that inherits it open harms the parent's reads by closing it."""
        self._writer.acquire()
        self._gate.close()
        self._close()

    def resume(self, *, child: bool) -> None:
        """After a fork: both sides open the file at the next use. The child's locks are new: their holders are not in it."""
        if child:
            self._gate, self._writer = Gate(), threading.Lock()
        else:
            self._gate.open()
            self._writer.release()

    def upgrade(self) -> None:
        """From now on open the file for writing."""
        with self._gate.alone():
            if not self.writable:
                self._close()
                self.writable = True

    def follow(self) -> None:
        """Let go of a file that is no longer the one at the path, or was cut off: a store may have been deleted and made anew."""
        if self._lmdb is not None and not self._is_current():
            self.close()

    def open(self) -> bool:
        """Open the file if that was not done; False when there is none and it may not be made. Raises: NotReady."""
        return self._refresh()

    def _attempt(self, function: Callable[[lmdb.Transaction], T]) -> T:
        self._gate.enter()
        try:
            if self._lmdb is None:
                raise NotReady(f"the online store at {self.path} was closed meanwhile")
            self._lmdb.reader_check()
            with self._lmdb.begin(write=True) as transaction:
                result = function(transaction)
            found = _stat(self.path / "data.mdb")
            self._bytes = max(self._bytes, 0 if found is None else found.st_size)
            return result
        finally:
            self._gate.leave()

    def _begin(self, environment: lmdb.Environment) -> lmdb.Transaction | None:
        """A read transaction; None when another process made the map larger."""
        try:
            return environment.begin()
        except lmdb.MapResizedError:
            return None

    def _refresh(self) -> bool:
        """Open the file, or follow the map as another process made it."""
        if not self.users:
            raise NotReady(f"the online store at {self.path} is closed")
        with self._gate.alone():
            if self._lmdb is not None and self._is_current():
                self._lmdb.set_mapsize(0)
                return True
            self._close()
            if not self.writable and not _has_content(self.path / "data.mdb"):
                return False
            try:
                if self.writable:
                    private.make_folder(self.path)
                self._bytes = self._looked_at()
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
            found = _stat(self.path / "data.mdb")
            self._file = None if found is None else _identity(found)
            return True

    def _looked_at(self) -> int:
        """How large the file is, 0 for none. Raises: NotReady when it is damaged."""
        file = self.path / "data.mdb"
        if not _has_content(file):
            return 0
        if (found := damage(file)) is not None:
            raise self._damaged(found)
        return file.stat().st_size

    def _is_current(self) -> bool:
        """Whether the open file is still at the path, and no shorter than before: LMDB never shortens one, so it was cut off then."""
        found = _stat(self.path / "data.mdb")
        if found is None or self._file != _identity(found) or found.st_size < self._bytes:
            return False
        self._bytes = found.st_size
        return True

    def _map_size(self) -> int:
        return int(self._lmdb.info()["map_size"]) if self._lmdb is not None else self._map_bytes

    def _grow(self, need_bytes: int) -> None:
        """Make room for `need_bytes` more than is used."""
        with self._gate.alone():
            if self._lmdb is None:
                return
            info, page = self._lmdb.info(), int(self._lmdb.stat()["psize"])
            used, size = (int(info["last_pgno"]) + 1) * page, int(info["map_size"])
            wanted = size
            while wanted < used + need_bytes:
                wanted *= 2
            if wanted > size:
                self._lmdb.set_mapsize(wanted)

    def _close(self) -> None:
        if self._lmdb is not None:
            self._lmdb.close()
            self._lmdb = None

    def _failure(self, error: Exception) -> NotReady | OutOfResources:
        if isinstance(error, lmdb.DiskError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space" in str(error):
            return OutOfResources(f"the disk of the online store at {self.path} is full; nothing was written", resource="disk")
        if isinstance(error, _OF_DAMAGE):
            return self._damaged(f"{type(error).__name__}: {error}")
        words = f"the online store at {self.path} cannot be used ({error}); check that it is a folder that may be written"
        return NotReady(words, path=str(self.path))

    def _damaged(self, found: str) -> NotReady:
        words = f"the online store at {self.path} is damaged or of another program: in data.mdb, {found}"
        return NotReady(f"{words}; delete the folder and run featurestore materialize, which fills it anew", path=str(self.path))


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def _stat(path: Path) -> os.stat_result | None:
    """What the system says of a file; None when there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result) -> tuple[int, int]:
    """Device and inode of a file."""
    return found.st_dev, found.st_ino


class Environments:
    """The environments open in this process, by path; the map of a new file has `first_map_bytes`, and doubles."""

    def __init__(self, first_map_bytes: int = _FIRST_MAP_BYTES) -> None:
        self._first_map_bytes = first_map_bytes
        self._lock = threading.Lock()
        self._by_path: dict[Path, Environment] = {}
        self._hooked = False

    def acquire(self, path: Path, *, writable: bool) -> Environment:
        """The environment of this path, to be given back with `release`. Raises: NotReady."""
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
        """Give an environment back; the last to do so closes the file."""
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


# The one state of a module here, because LMDB itself is: a file opened twice in a process loses its locks.
ENVIRONMENTS = Environments()
