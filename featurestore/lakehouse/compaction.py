"""Compact small data files into large ones, in one commit; older snapshots still refer to the old files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Transaction
from pyiceberg.table.snapshots import Operation, Summary, ancestors_of
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import CommitConflict
from featurestore.lakehouse import scans, tables, type_mapping
from featurestore.lakehouse.casting import cast_batches
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import ATTEMPTS, begin, commit, stage_properties
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.row_groups import ROW_GROUP_ROWS, group_rows
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of

logger = logger_of(__name__)

TARGET_BYTES = 128 << 20
"""Target size of a data file: large enough that scans spend their time reading rows, not opening files; small enough to be one task."""
SMALL_BYTES = TARGET_BYTES // 2
"""Files below this size are compacted. Larger files are left alone, so that no row is rewritten again and again."""
MIN_SMALL_FILES = 5
"""How many small files a partition needs for a rewrite to be worthwhile."""
MIN_RECENT_FILES = 8
"""How many small files the newest partition needs for a rewrite during a run, which then costs a commit in as many runs."""
RUN_BYTES = 32 << 20
"""Bytes of the files that are rewritten during a run: a second or two. Larger ones are left to maintenance."""

Notes = Callable[[Table], tuple[Mapping[str, str], Mapping[str, str]]]
"""Returns the snapshot summary and the table properties for a commit on the state that a handle shows."""


@dataclass(frozen=True)
class FileGroup:
    """Data files of one partition in a snapshot."""

    snapshot_id: int
    tasks: tuple[FileScanTask, ...]

    @property
    def files(self) -> int:
        """The number of files."""
        return len(self.tasks)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(task.file.record_count for task in self.tasks)

    @property
    def bytes(self) -> int:
        """The total size in bytes."""
        return sum(task.file.file_size_in_bytes for task in self.tasks)

    def small_files(self) -> "FileGroup | None":
        """The small files of the group; None if they are too few to be worth a rewrite."""
        small = tuple(task for task in self.tasks if task.file.file_size_in_bytes < SMALL_BYTES)
        return FileGroup(self.snapshot_id, small) if len(small) >= MIN_SMALL_FILES else None

    def mergeable(self, newest: bool, most_bytes: int) -> "FileGroup | None":
        """The small files of the group that a run merges; None if that does not pay yet.

        A file is only merged with at least as many rows (a quarter as many, in any partition but the newest, which runs still add to)
        of smaller files. So what a row is rewritten with doubles each time, and the sizes of the files that are left do too: both the
        rewrites of a row and the files of a partition grow with the logarithm of its rows only.
        """
        small = sorted((task for task in self.tasks if task.file.file_size_in_bytes < SMALL_BYTES), key=lambda task: task.file.record_count)
        least, ratio = (MIN_RECENT_FILES, 1) if newest else (2, 4)
        rows = size = end = 0
        for index, task in enumerate(small):
            size += task.file.file_size_in_bytes
            if size > most_bytes:
                break
            if index + 1 >= least and task.file.record_count <= ratio * rows:
                end = index + 1
            rows += task.file.record_count
        return FileGroup(self.snapshot_id, tuple(small[:end])) if end else None


def partitions(granted: Granted) -> list[FileGroup]:
    """The current files of each partition, ordered by partition; partitions with deleted rows or an older partition spec are left out."""
    table, snapshot_id = granted.table, granted.table.snapshot_id
    by_partition: dict[tuple[Any, ...], list[FileScanTask]] = {}
    for task in [] if snapshot_id is None else scans.snapshot_files(granted, snapshot_id):
        partition = task.file.partition
        values = tuple((value is not None, value) for value in (partition[index] for index in range(len(partition))))
        by_partition.setdefault((task.file.spec_id, *values), []).append(task)
    current = table.iceberg.spec().spec_id
    whole = [
        tasks for _, tasks in sorted(by_partition.items()) if all(task.file.spec_id == current and not task.delete_files for task in tasks)
    ]
    return [FileGroup(snapshot_id, tuple(tasks)) for tasks in whole if snapshot_id is not None]


def mergeable_groups(granted: Granted) -> list[FileGroup]:
    """The files that a run merges: those of the newest partitions first, of RUN_BYTES in all; empty if that does not pay yet."""
    groups: list[FileGroup] = []
    left = RUN_BYTES
    for index, partition in enumerate(reversed(partitions(granted))):
        group = partition.mergeable(index == 0, left)
        if group is not None:
            groups.append(group)
            left -= group.bytes
    return groups


def files_since_rewrite(table: Table) -> int:
    """The number of data files that were added since files were last rewritten, from the summaries of the snapshots that are left."""
    added = 0
    for snapshot in ancestors_of(table.iceberg.current_snapshot(), table.iceberg.metadata):
        summary = {} if snapshot.summary is None else snapshot.summary.additional_properties
        if snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE:
            break
        added += int(summary.get("added-data-files") or 0)
    return added


def read_group(granted: Granted, group: FileGroup, columns: Sequence[str] | None = None) -> IcebergFiles | pa.RecordBatchReader:
    """Read the rows of a group with these columns (None: all). Raises: as `scans.scan_snapshot`."""
    return scans.scan_files(granted, group.snapshot_id, group.tasks, columns=columns)


class Rewrite:
    """Replaces groups of files: new files are written group by group, and swapped in by one commit."""

    def __init__(self, granted: Granted) -> None:
        self._granted = granted
        self._table = table = granted.table
        self._planned = table.snapshot_id
        # Columns added since the snapshot are not in its rows.
        self._schema = type_mapping.arrow_schema(tables.schema_of(table, table.snapshot_id), ids=True)
        self._new = DataFiles(table, self._schema)
        self._old: list[DataFile] = []
        self._rows = 0

    @property
    def dropped(self) -> int:
        """How many rows the new files leave out: superseded versions that were dropped."""
        return self._rows - self._new.rows

    def write(self, group: FileGroup, batches: pa.RecordBatchReader) -> None:
        """Write the rows that replace a group, in their order, into files of about TARGET_BYTES.

        Memory is bounded by one row group. Raises: TypeMismatch, RequestError, OutOfResources; every new file is deleted then.
        """
        rows = max(ROW_GROUP_ROWS, group.rows * TARGET_BYTES // max(group.bytes, 1))
        with self._new.discard_on(BaseException):
            for portion in _split_rows(cast_batches(batches, self._schema, self._table.name), rows):
                self._new.write(portion, group_rows=group_rows(group.rows))
        self._old += [task.file for task in group.tasks]
        self._rows += group.rows

    def discard(self) -> None:
        """Delete the new files instead of committing them."""
        self._new.discard()

    def commit(self, notes: Notes, attempts: int = ATTEMPTS) -> tuple[int | None, int]:
        """Swap the files in, keeping what was appended meanwhile; returns the ids of the previous and the new snapshot.

        The snapshot is a `replace`, which incremental readers of appended rows skip, or an `overwrite` if rows were dropped.
        Raises: CommitConflict if one of the old files is gone from the table, or after `attempts` conflicts; OutOfResources: every new
        file is deleted then. CommitUnknown: the commit may have landed.
        """
        before: int | None = None
        made = 0

        def stage(fresh: Table) -> Transaction:
            nonlocal before, made
            self._refuse_gone(fresh)
            before = fresh.snapshot_id
            with translating_errors(f"writing the metadata of {fresh.name}"):
                transaction, made = self._stage(fresh, notes)
            return transaction

        with self._new.discard_on(BaseException):
            commit(self._table, stage, attempts=attempts, undone="its files were not compacted", sending=self._new.sending_commit)
        return before, made

    def _refuse_gone(self, table: Table) -> None:
        current = table.snapshot_id
        if current == self._planned:
            return
        paths = {task.file.file_path for task in ([] if current is None else scans.snapshot_files(self._granted.renew(table), current))}
        if not all(file.file_path in paths for file in self._old):
            raise CommitConflict(f"{table.name} was rewritten by another process meanwhile; this compaction was dropped")

    def _stage(self, table: Table, notes: Notes) -> tuple[Transaction, int]:
        summary, properties = notes(table)
        transaction = begin(table)
        stage_properties(transaction, table, properties)
        overwrite = transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite
        io = table.iceberg.io
        with overwrite() if self.dropped else _Replace(Operation.OVERWRITE, transaction, io, None, dict(summary)) as snapshot:
            # Without a filter pyiceberg would skip every manifest of an unpartitioned table when it looks for the files to drop.
            snapshot.delete_by_predicate(AlwaysTrue())
            for file in self._old:
                snapshot.delete_data_file(file)
            for file in self._new.data_files(transaction.table_metadata):
                snapshot.append_data_file(file)
        return transaction, snapshot.snapshot_id


class _Replace(_OverwriteFiles):
    """An overwrite with the operation `replace` (no row changed), which pyiceberg has no class for."""

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        return Summary(Operation.REPLACE, **super()._summary(snapshot_properties).additional_properties)


def only_rewritten(table: Table, before: int | None, now: int | None) -> bool:
    """Whether every snapshot after `before`, up to `now`, only rewrote files."""
    current = now
    while current != before:
        snapshot = table.iceberg.snapshot_by_id(current) if current is not None else None
        if snapshot is None or snapshot.summary is None or snapshot.summary.operation != Operation.REPLACE:
            return False
        current = snapshot.parent_snapshot_id
    return True


def _split_rows(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[Iterator[pa.RecordBatch]]:
    """Split batches into runs of `rows` rows, the last one shorter; consume each run before the next."""
    for _, run in groupby(_number_slices(batches, rows), key=itemgetter(0)):
        yield (piece for _, piece in run)


def _number_slices(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Slice batches at run boundaries; yields the number of the run with each slice."""
    seen = 0
    for batch in batches:
        offset = 0
        while offset < batch.num_rows:
            length = min(batch.num_rows - offset, rows - seen % rows)
            yield seen // rows, batch.slice(offset, length)
            offset, seen = offset + length, seen + length
