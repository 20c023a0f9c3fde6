"""Append the entries that are only in files to the table, in order and once, however often the process is killed."""

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from featurestore import private
from featurestore.audit_log.chain import settle_left
from featurestore.audit_log.entry import NOTHING, Line, open_line
from featurestore.audit_log.folder import FLUSH_LOCK, Segment, audit_path, list_segments, read_lines
from featurestore.audit_log.retired_heads import ANY, heads_to_retire, last_row, record_retired, remove_retired
from featurestore.audit_log.table import Head, head_note, heads_in, open_table, rows_of
from featurestore.errors import CommitConflict
from featurestore.lakehouse import commits, granted, maintenance, writes
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.records.runtime import Runtime
from featurestore.values import times

logger = logger_of(__name__)

ROWS = 20_000
"""Entries of a commit."""
ACTION = "audit"
SNAPSHOTS = 100
"""Snapshots from which older ones of this log expire: each commit rewrites the list of all. Heads stay in the table's properties."""
SNAPSHOT_AGE = timedelta(hours=1)
"""Readers may use a snapshot of this age."""


def flush_audit_log(runtime: Runtime) -> int:
    """Write the entries that are only in files to the table, as a server does by itself; the number of rows. Raises: as `flush`."""
    return Flusher(runtime).flush()


class Flusher:
    """Flushes the files of a home folder; one process at a time does. A chain whose files do not follow from the table is left alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._folder = runtime, audit_path(runtime.settings)
        self._reported: set[str] = set()

    def flush(self) -> int:
        """Append all entries, remove the files whose entries are all in the table, and return the number of new rows.

        Raises: NotReady, CommitConflict.
        """
        if not list_segments(self._folder):
            return 0
        with private.hold(self._folder / FLUSH_LOCK) as alone:
            if not alone:
                return 0
            self._settle_left()
            return self._flush()

    def _flush(self) -> int:
        table, total, rows = open_table(self._runtime), 0, ROWS
        while rows >= ROWS:
            rows = self._append(table)
            total += rows
        self._remove_files(heads_in(table.properties))
        self._retire_heads(table)
        if len(table.snapshot_ids) > SNAPSHOTS:
            try:
                maintenance.expire_snapshots(table, times.moment(times.now()) - SNAPSHOT_AGE, action=ACTION)
            except CommitConflict as error:
                logger.info("old snapshots of %s were not expired: %s", table.name, error)
        return total

    def _settle_left(self) -> None:
        try:
            settle_left(self._folder)
        except OSError as error:
            logger.warning("entries that killed processes have left wait in their journals: %s", error)

    def _append(self, table: Table) -> int:
        """Append up to ROWS entries in one commit with the heads of their chains; the number of rows."""
        heads = heads_in(table.properties)
        waiting: list[Line] = []
        for chain, segments in list_segments(self._folder).items():
            if len(waiting) < ROWS:
                head = heads.get(chain)
                if head is None and ANY in table.properties:
                    head = last_row(granted.system(table, self._runtime.settings), chain)
                waiting += self._waiting(chain, segments, head, ROWS - len(waiting))
        if not waiting:
            return 0
        notes: dict[str, str] = {}
        for line in waiting:
            notes |= head_note(line)

        def attempt() -> int:
            writes.append(table, rows_of(waiting).to_reader(), summary={writes.OPERATION: ACTION, **notes}, properties=notes)
            return len(waiting)

        def recover(conflict: CommitConflict) -> None:
            table.show(commits.reload(table))
            fresh = heads_in(table.properties)
            if any(fresh.get(line.entry.chain) != heads.get(line.entry.chain) for line in waiting):
                raise conflict

        return commits.retry(table.name, attempt, undone="the entries wait in their files", recover=recover)

    def _retire_heads(self, table: Table) -> None:
        """Keep the heads in the properties few: those of chains that nobody has continued for long go into an entry."""
        retired = heads_to_retire(table.properties, list_segments(self._folder))
        if not retired:
            return
        chain, number = record_retired(self._runtime.settings, retired)
        while self._append(table):
            pass
        recorded = heads_in(table.properties).get(chain)
        if recorded is None or recorded.number < number:
            return
        try:
            remove_retired(table, retired)
        except CommitConflict as error:
            logger.info("heads of old chains stay in the properties of %s: %s", table.name, error)

    def _waiting(self, chain: str, segments: Sequence[Segment], head: Head | None, limit: int) -> list[Line]:
        """The entries of a chain after its head in the table; none if they do not follow from it."""
        last = 0 if head is None else head.number
        waiting: list[Line] = []
        newest = 0
        try:
            for segment, content in _lines_after(segments, last):
                line = open_line(content)
                newest = line.entry.number
                if newest == last and head is not None and line.hash != head.hash:
                    raise ValueError(f"{segment.path.name}: entry {last} is not the one in the table")
                if newest <= last:
                    continue
                before = Head(waiting[-1].entry.number, waiting[-1].hash) if waiting else head or Head(0, NOTHING)
                if (newest - 1, line.entry.previous) != before:
                    raise ValueError(f"{segment.path.name}: entry {newest} does not follow from the one before it")
                waiting.append(line)
                if len(waiting) == limit:
                    break
            if newest < last:
                raise ValueError(f"its files end at entry {newest}, before the {last} entries in the table")
        except ValueError as error:
            if chain not in self._reported:
                logger.error("the audit log was tampered with, chain %s; from there on it stays in its files: %s", chain, error)
            self._reported.add(chain)
        return waiting

    def _remove_files(self, heads: dict[str, Head]) -> None:
        """Remove the segments whose entries are all in the table; the newest with entries stays, as the chain is continued from it."""
        for chain, segments in list_segments(self._folder).items():
            if chain in self._reported or chain not in heads:
                continue
            for segment, following in pairwise(segments):
                if following.first - 1 <= heads[chain].number and next(read_lines(following), None) is not None:
                    segment.path.unlink()


def _lines_after(segments: Sequence[Segment], last: int) -> Iterator[tuple[Segment, bytes]]:
    """The lines of the segments that have entries from number `last` on, which are on the disk before they are read."""
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        if following is None or following.first > last:
            _sync(segment.path)
            for content in read_lines(segment):
                yield segment, content


def _sync(path: Path) -> None:
    """The table must not have entries that a power cut takes from the files: the chain would be continued before them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
