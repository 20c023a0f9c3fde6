"""What a join uses beside the logs that it keeps in memory: a session, memory to sort in, and space on disk."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from featurestore.engine.session import Session
from featurestore.engine.watch import current
from featurestore.errors import OutOfResources


class Workspace:
    """Sorts take at most `room` bytes, and files, in the session's folder, what the request or job in which the join runs may spill."""

    def __init__(self, session: Session, room: int) -> None:
        self.session, self.room = session, room
        self._limit = current().bounds.spill
        self._written = 0

    def count(self, size: int) -> None:
        """Count bytes that are to be written. Raises: OutOfResources if all of them exceed the limit."""
        self._written += size
        if self._limit is not None and self._written > self._limit:
            raise OutOfResources(
                "the join needs more memory and disk than its limits allow; request less at once, or raise the limits", resource="disk"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make a full disk an OutOfResources."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OutOfResources("the disk that joins spill to is full; free some space or set spill_directory", resource="disk") from error
