"""A lock for many readers or one writer."""

import contextlib
import threading
from collections.abc import Iterator


class ReadWriteLock:
    """A lock for any number of readers at a time, or one writer. A writer may release it from another thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._readers = 0
        self._writing = False

    def acquire_read(self) -> None:
        """Wait until there is no writer, and become a reader."""
        with self._condition:
            while self._writing:
                self._condition.wait()
            self._readers += 1

    def release_read(self) -> None:
        """Release a read lock."""
        with self._condition:
            self._readers -= 1
            if self._writing and not self._readers:
                self._condition.notify_all()

    def acquire_write(self) -> None:
        """Block new readers and writers, and wait until all current ones are done."""
        with self._condition:
            while self._writing:
                self._condition.wait()
            self._writing = True
            while self._readers:
                self._condition.wait()

    def release_write(self) -> None:
        """Release the write lock."""
        with self._condition:
            self._writing = False
            self._condition.notify_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock during the block."""
        self.acquire_write()
        try:
            yield
        finally:
            self.release_write()
