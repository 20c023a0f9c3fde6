"""A chain of the audit log, which one process at a time continues: it holds the lock of the chain for as long as it lives."""

import errno
import fcntl
import os
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import time_ns

from featurestore import private
from featurestore.audit_log.entry import NOTHING, Line, begin_lines, seal
from featurestore.audit_log.folder import JOURNAL, LOCK, Segment, journal_path, last_line, list_segments, read_waiting, segment_path
from featurestore.audit_log.journal import MOST_ENTRIES, Journal, Waiting, read_journal
from featurestore.audit_log.segment_file import SegmentFile
from featurestore.masking import logger_of

logger = logger_of(__name__)

SEGMENT_BYTES = 4 << 20
"""Size from which the next entry begins another file. Files whose entries are in the table are removed."""


class Chain:
    """The chain that this process writes. May be used from several threads.

    `append` copies a line into the file. `append_soon` copies an entry without its hash into the journal, from where it goes into the file
    with others.
    """

    def __init__(self, folder: Path, id: str, lock: int, head: Line | None, segment: Path) -> None:
        """`lock` is the descriptor of the locked file; `head` the last entry; `segment` the file that is continued."""
        self.id, self._folder, self._lock_file = id, folder, lock
        self._number, self._hash = (0, NOTHING.encode()) if head is None else (head.entry.number, head.hash.encode())
        self._begin = begin_lines(id)
        self._lock = threading.Lock()
        self._file = SegmentFile(segment, SEGMENT_BYTES)
        self._full: list[SegmentFile] = []
        path = journal_path(folder, id)
        # Of a process that was killed.
        self._waiting: deque[tuple[int, bytes]] = deque(waiting for waiting, entry in read_journal(path, id) if entry.number > self._number)
        self._journal = Journal(path)
        self._left: OSError | None = None
        self._settle()

    def append(self, members: bytes, time: int | None = None) -> None:
        """Write an entry, given by `encode`, of now or of a time in microseconds; it is in the file when this returns.

        Raises: SegmentCutShort, from then on, if the files were damaged; OSError. Then it was not written.
        """
        with self._lock:
            self._settle()
            self._write(deque([(time_ns() // 1000 if time is None else time, members)]))

    def append_soon(self, members: bytes) -> None:
        """As `append`, for an entry that gets its hash later; it survives a killed process when this returns. Raises: as `append`."""
        with self._lock:
            waiting = self._waiting
            if len(waiting) >= MOST_ENTRIES or self._left is not None:
                self._settle()
            now = time_ns() // 1000
            if self._journal.append(self._number + len(waiting) + 1, now, members):
                # Without the time of making a named tuple.
                waiting.append((now, members))
                return
            self._settle()
            self._write(deque([(now, members)]))

    def settle(self) -> None:
        """Write the entries that wait for their hashes. Raises: OSError; then the rest waits."""
        if self._waiting:
            with self._lock:
                self._settle()

    def leave(self, error: OSError) -> Sequence[Waiting]:
        """Take no more entries, as the files are damaged; what waits, for another chain."""
        with self._lock:
            taken, self._left = [Waiting(*waiting) for waiting in self._waiting], error
            self._waiting.clear()
            return taken

    def remove_journal(self) -> None:
        """Remove the file of what waited: another chain has it."""
        self._journal.remove()

    @property
    def number(self) -> int:
        """The number of the last entry."""
        return self._number

    @property
    def hash(self) -> str:
        """The hash of the last entry."""
        return self._hash.decode()

    def is_intact(self) -> bool:
        """Whether the file that is written is as this process has left it. Raises: OSError."""
        with self._lock:
            return self._file.is_intact() and self._journal.is_intact()

    def sync(self) -> None:
        """Wait until all that was appended is on the disk. Not from two threads at the same time. Raises: OSError."""
        with self._lock:
            self._settle()
            full, current = self._full, self._file
            self._full = []
        for file in full:
            file.sync()
            file.close()
        current.sync()

    def close(self) -> None:
        """Let another process continue the chain."""
        with self._lock:
            try:
                if self._left is None:
                    self._settle()
            except OSError as error:
                logger.error("entries of the chain %s of the audit log stay in its journal: %s", self.id, error)
            if not self._waiting and self._left is None:
                self._journal.remove()
            self._journal.close()
            for file in (*self._full, self._file):
                file.close()
            os.close(self._lock_file)

    def _settle(self) -> None:
        if self._left is not None:
            raise self._left
        if self._waiting:
            self._write(self._waiting)
            self._journal.clear()

    def _write(self, entries: deque[tuple[int, bytes]]) -> None:
        """Write entries to the file; those that are in it are taken out of `entries`, also if another fails."""
        while entries:
            lines, hashes = seal(self._begin, self._number, self._hash, entries)
            written = self._file.append(lines)
            if not written:
                self._begin_segment()
                continue
            self._number, self._hash = self._number + written, hashes[written - 1]
            if written == len(hashes):
                entries.clear()
            else:
                for _ in range(written):
                    entries.popleft()

    def _begin_segment(self) -> None:
        file = SegmentFile(segment_path(self._folder, self.id, self._number + 1), SEGMENT_BYTES)
        # Closed by the next `sync`; without one, the flush syncs what it reads.
        self._full.append(self._file)
        if len(self._full) > 1:
            self._full.pop(0).close()
        self._file = file


def open_chain(folder: Path) -> Chain:
    """Continue a chain that no process writes, or else begin another. So there are as many chains as processes at the same time.

    Raises: OSError.
    """
    private.make_folder(folder)
    segments = list_segments(folder)
    for path in sorted(folder.glob(f"*{LOCK}")):
        id = path.name.removesuffix(LOCK)
        if id in segments and (lock := _try_lock(path)) is not None:
            # Listed again under the lock: the process before may have begun a segment.
            chain = _continue(folder, id, lock, list_segments(folder).get(id, []))
            if chain is not None:
                return chain
    id = uuid.uuid4().hex
    new = _try_lock(folder / f"{id}{LOCK}")
    if new is None:
        raise OSError(errno.EBUSY, "a new chain is locked")
    return Chain(folder, id, new, None, segment_path(folder, id, 1))


def settle_left(folder: Path) -> None:
    """Write the entries that killed processes have left in journals, of chains that no process writes. Raises: OSError."""
    for path in sorted(folder.glob(f"*{JOURNAL}")):
        id = path.name.removesuffix(JOURNAL)
        lock = _try_lock(folder / f"{id}{LOCK}")
        if lock is not None and (chain := _continue(folder, id, lock, list_segments(folder).get(id, []))) is not None:
            chain.close()


def _continue(folder: Path, id: str, lock: int, segments: list[Segment]) -> Chain | None:
    """The chain after its last entry; None if there is no such entry, or it is damaged: `verify` names the place then."""
    try:
        head = next((line for segment in reversed(segments) if (line := last_line(segment)) is not None), None)
    except ValueError as error:
        logger.error("the chain %s of the audit log is not continued: its last entry %s", id, error)
        head = None
    if head is not None and any(entry.number > head.entry.number + 1 for entry in islice(read_waiting(folder, id), 1)):
        logger.error("the chain %s of the audit log is not continued: it ends before its journal begins", id)
        head = None
    if head is None:
        os.close(lock)
        return None
    return Chain(folder, id, lock, head, segments[-1].path)


def _try_lock(path: Path) -> int | None:
    """The descriptor of the file with an exclusive lock; None if another process has it."""
    private.make_file(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
