"""Many small files become few large ones in one commit: the files first, and those they stand for are gone from the head alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import CommitConflict
from featurestore.lakehouse import scans, tables, types
from featurestore.lakehouse.casting import fitted
from featurestore.lakehouse.commits import begin, commit, reloaded, stage_properties
from featurestore.lakehouse.files import ROW_GROUP_ROWS, DataFiles, group_rows
from featurestore.lakehouse.reaching import reaching
from featurestore.secrets import logger_of

logger = logger_of(__name__)

TARGET_BYTES = 128 << 20
"""How large a data file should be: a scan then spends its time reading rows, not opening files, and a file still is one task."""
SMALL_BYTES = TARGET_BYTES // 2
"""Files below it are merged. A merged file above it is left alone from then on, so no row is rewritten again and again."""
FEWEST = 5
"""How many small files a partition must hold for a rewrite to be worth its reading and writing."""

Notes = Callable[[Table], tuple[Mapping[str, str], Mapping[str, str]]]
"""The summary and the table properties of a commit on the state that the handle shows."""


@dataclass(frozen=True)
class Group:
    """Data files of one partition, as a snapshot has them."""

    snapshot_id: int
    tasks: tuple[FileScanTask, ...]

    @property
    def files(self) -> int:
        """How many they are."""
        return len(self.tasks)

    @property
    def rows(self) -> int:
        """How many rows they have."""
        return sum(task.file.record_count for task in self.tasks)

    @property
    def bytes(self) -> int:
        """How large they are."""
        return sum(task.file.file_size_in_bytes for task in self.tasks)

    def fragmented(self) -> "Group | None":
        """The small ones among them; None where they are too few to be worth a rewrite."""
        small = tuple(task for task in self.tasks if task.file.file_size_in_bytes < SMALL_BYTES)
        return Group(self.snapshot_id, small) if len(small) >= FEWEST else None


def partitions(table: Table) -> list[Group]:
    """The current files of each partition, in the order of the partitions; none of a partition that has deleted rows or an older spec."""
    snapshot_id = tables.current_snapshot_id(table)
    found: dict[str, list[FileScanTask]] = {}
    for task in [] if snapshot_id is None else scans.files(table, snapshot_id):
        found.setdefault(f"{task.file.spec_id} {task.file.partition}", []).append(task)
    current = table.spec().spec_id
    whole = [tasks for _, tasks in sorted(found.items()) if all(task.file.spec_id == current and not task.delete_files for task in tasks)]
    return [Group(snapshot_id, tuple(tasks)) for tasks in whole if snapshot_id is not None]


def read(table: Table, group: Group, columns: Sequence[str] | None = None) -> IcebergFiles | pa.RecordBatchReader:
    """The rows of a group with these columns (None: all). Raises: as `scans.scan`."""
    return scans.scan_files(table, group.snapshot_id, group.tasks, columns=columns)


class Rewrite:
    """New files for groups of old ones: written one group after the other, and swapped in by one commit."""

    def __init__(self, table: Table) -> None:
        self._table = table
        # Columns that came since the snapshot are not in its rows.
        self._schema = types.arrow_schema(tables.schema_of(table, tables.current_snapshot_id(table)), ids=True)
        self._new = DataFiles(table, self._schema)
        self._old: list[DataFile] = []
        self._rows = 0

    @property
    def dropped(self) -> int:
        """How many rows the new files lack: what a fold left out."""
        return self._rows - self._new.rows

    def write(self, group: Group, batches: pa.RecordBatchReader) -> None:
        """Write the rows that are to stand for a group, in their order, into files of about TARGET_BYTES.

        The memory is that of a row group. Raises: TypeMismatch, RequestError, OutOfResources; then every new file is gone.
        """
        rows = max(ROW_GROUP_ROWS, group.rows * TARGET_BYTES // max(group.bytes, 1))
        with self._new.discarded_on(BaseException):
            for portion in _portions(fitted(batches, self._schema, ".".join(self._table.name())), rows):
                self._new.write(portion, group_rows=group_rows(group.rows))
        self._old += [task.file for task in group.tasks]
        self._rows += group.rows

    def discard(self) -> None:
        """Delete the new files: nothing will refer to them."""
        self._new.discard()

    def commit(self, notes: Notes) -> tuple[int | None, int]:
        """Swap the files in, whatever was appended meanwhile; returns the snapshot before and the new one.

        The snapshot is a `replace`, by which nothing changes for whoever reads appended rows; an `overwrite` where rows were
        dropped. Raises: CommitConflict if one of the old files is gone from the table, or others never pause; OutOfResources: no
        new file is left then. CommitUnknown: it may have landed.
        """
        before: int | None = None
        made = 0

        def stage(fresh: Table) -> Transaction:
            nonlocal before, made
            self._refuse_gone(fresh)
            before = tables.current_snapshot_id(fresh)
            with reaching(f"writing the metadata of {'.'.join(fresh.name())}"):
                transaction, made = self._staged(fresh, notes)
            return transaction

        with self._new.discarded_on(BaseException):
            fresh = reloaded(self._table)
            commit(fresh, stage, undone="it is as it was", sending=self._new.sent)
        self._table.metadata, self._table.metadata_location = fresh.metadata, fresh.metadata_location
        return before, made

    def _refuse_gone(self, table: Table) -> None:
        current = tables.current_snapshot_id(table)
        there = {task.file.file_path for task in ([] if current is None else scans.files(table, current))}
        if not all(file.file_path in there for file in self._old):
            raise CommitConflict(f"{'.'.join(table.name())} was rewritten by another process meanwhile; it is as that left it")

    def _staged(self, table: Table, notes: Notes) -> tuple[Transaction, int]:
        summary, properties = notes(table)
        transaction = begin(table)
        stage_properties(transaction, table, properties)
        update = transaction.update_snapshot(snapshot_properties=dict(summary))
        with update.overwrite() if self.dropped else _Replace(Operation.OVERWRITE, transaction, table.io, None, dict(summary)) as snapshot:
            # Without a filter pyiceberg looks for the files to drop in no manifest of an unpartitioned table.
            snapshot.delete_by_predicate(AlwaysTrue())
            for file in self._old:
                snapshot.delete_data_file(file)
            for file in self._new.data_files(transaction.table_metadata):
                snapshot.append_data_file(file)
        return transaction, snapshot.snapshot_id


class _Replace(_OverwriteFiles):
    """An overwrite that says of itself that it changed no row, for which pyiceberg has no operation of its own."""

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        return Summary(Operation.REPLACE, **super()._summary(snapshot_properties).additional_properties)


def same_rows(table: Table, before: int | None, now: int | None) -> bool:
    """Whether nothing but rewriting of files lies between two snapshots, the older one first."""
    current = now
    while current != before:
        found = table.snapshot_by_id(current) if current is not None else None
        if found is None or found.summary is None or found.summary.operation != Operation.REPLACE:
            return False
        current = found.parent_snapshot_id
    return True


def _portions(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[Iterator[pa.RecordBatch]]:
    """Runs of `rows` rows, the last one shorter, each to be consumed before the next."""
    for _, run in groupby(_numbered(batches, rows), key=itemgetter(0)):
        yield (piece for _, piece in run)


def _numbered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Slices of batches that lie in one run, with the number of the run."""
    seen = 0
    for batch in batches:
        offset = 0
        while offset < batch.num_rows:
            length = min(batch.num_rows - offset, rows - seen % rows)
            yield seen // rows, batch.slice(offset, length)
            offset, seen = offset + length, seen + length
