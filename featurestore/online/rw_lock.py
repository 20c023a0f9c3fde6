"""A gate lets many through at once, or one alone."""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Many may pass at once, or one alone."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._alone = False

    def enter(self) -> None:
        """Pass, once nobody is alone inside."""
        with self._condition:
            while self._alone:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        """Undo `enter`."""
        with self._condition:
            self._inside -= 1
            if self._alone and not self._inside:
                self._condition.notify_all()

    def close(self) -> None:
        """Keep all others out, once those inside have left."""
        with self._condition:
            while self._alone:
                self._condition.wait()
            self._alone = True
            while self._inside:
                self._condition.wait()

    def open(self) -> None:
        """Undo `close`."""
        with self._condition:
            self._alone = False
            self._condition.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is inside meanwhile."""
        self.close()
        try:
            yield
        finally:
            self.open()
