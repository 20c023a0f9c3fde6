"""The LMDB files that this process has open: each once, and none during a fork."""

import os
import threading
from pathlib import Path

from featurestore.errors import NotReady
from featurestore.online.lmdb.environment import Environment

_FIRST_MAP_BYTES = 1 << 30


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
