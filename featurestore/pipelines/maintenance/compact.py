"""Compact a table: merge the small files of each month into sorted ones and, when asked, drop superseded versions of rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from featurestore.compiler.chunk_rows import in_file_order, sorted_by
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.superseded import superseded_rows, without_superseded
from featurestore.dsl import documents
from featurestore.engine.results import count
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict, Conflict, OutOfResources
from featurestore.lakehouse import compaction, tables
from featurestore.lakehouse.compaction import FileGroup, Rewrite
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.writes import OPERATION
from featurestore.pipelines.materialization.checkpoint import load_checkpoint
from featurestore.records import feature_table, stored_definition
from featurestore.records.feature_table import DEFINITION, DROPPED_BEFORE
from featurestore.records.operations import DROP_SUPERSEDED
from featurestore.records.runtime import Runtime
from featurestore.values import times

WRITE_ANEW = "change a word of the view's definition, such as its description, and apply it, which writes the definition again"
_FILES = "__fs_files"
_TIMES = ("feature_timestamp", "created_timestamp")


@dataclass(frozen=True)
class Layout:
    """The sort order of a table's files, and which of its rows are versions of the same row.

    `order` are the columns to sort by, in a feature table after its file order; without columns the rows keep the order in which they
    were written. Rows with equal `keys` and `feature_timestamp` are versions of one row; `keys` is empty where rows have no versions.
    `droppable` is False where the source has a created time for each version: the next run would add a dropped version again.
    """

    order: tuple[str, ...]
    keys: tuple[str, ...] = ()
    droppable: bool = False

    def sort(self, rows: Query) -> Query:
        """The rows in this order."""
        if self.keys:
            return in_file_order(rows, self.keys, self.order)
        return sorted_by(rows, self.order) if self.order else rows


@dataclass(frozen=True)
class CompactionResult:
    """What compaction did to one table, or in a dry run would do.

    `files` and `bytes` count the replaced files, `rows` the superseded rows that were dropped. `before` and `snapshot_id` are the
    snapshots before and after the commit, None if nothing was committed. `note` says what was skipped, and why.
    """

    files: int = 0
    bytes: int = 0
    rows: int = 0
    before: int | None = None
    snapshot_id: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class _Job:
    """A group of files to rewrite, and how many superseded rows to drop from it."""

    group: FileGroup
    superseded: int = 0


def feature_layout(table: Table) -> Layout | None:
    """The layout of a feature table, from the view definition in its properties; None for a table without one.

    Raises: Conflict naming the table, if the property is not a valid definition.
    """
    document = table.properties.get(DEFINITION)
    if document is None:
        return None
    with stored_definition.conflict_if_unreadable(f"the definition in the properties of table {table.name}", WRITE_ANEW):
        view = documents.view(json.loads(document))
        versioned = view.every is None and view.source.created is not None
        return Layout(("created_timestamp",), tuple(view.entity.keys), not versioned)


def log_layout(table: Table) -> Layout:
    """The layout of a log table such as the registry: sorted by its timestamp columns, if it has any."""
    schema = tables.arrow_schema(table)
    return Layout(tuple(name for name in schema.names if str(schema.field(name).type).startswith("timestamp")))


def compact(runtime: Runtime, table: Table, layout: Layout, horizon: int | None, dry_run: bool) -> CompactionResult:
    """Rewrite the small files of every month that has many of them, in one commit, and refresh `table`.

    With a `horizon` (microseconds), rows that have a later version of the same keys and feature_timestamp, created by the horizon, are
    dropped. If another writer replaces the same files first, nothing is changed and `note` says so.
    Raises: OutOfResources naming the table; NotReady.
    """
    if load_checkpoint(table) is not None:
        return CompactionResult(note="not compacted: a backfill is in progress and needs the table unchanged")
    corrected = bool(layout.keys) and feature_table.state_of(table.properties).corrections > 0
    refused = horizon is not None and corrected and not layout.droppable
    note = "superseded versions kept: the source has a created time for each and would add them again" if refused else None
    drop_before = horizon if corrected and layout.droppable else None
    granted = runtime.operator.grant(table)
    groups = [group for group in compaction.partitions(granted) if drop_before is not None or group.small_files()]
    if not groups:
        return CompactionResult(note=note)
    with runtime.engine.session(data_folders(granted)) as session:
        try:
            jobs = [job for group in groups if (job := _job(session, granted, group, layout, drop_before)) is not None]
            result = CompactionResult(
                sum(job.group.files for job in jobs), sum(job.group.bytes for job in jobs), sum(job.superseded for job in jobs), note=note
            )
            if dry_run or not jobs:
                return result
            before, snapshot_id = _rewrite(session, granted, layout, jobs, drop_before)
        except OutOfResources as error:
            error.message = f"compacting {table.name}: {error.message}"
            raise
        except Conflict as error:
            return CompactionResult(note=f"not compacted: {error.message}")
    return replace(result, before=before, snapshot_id=snapshot_id)


def _job(session: Session, granted: Granted, group: FileGroup, layout: Layout, horizon: int | None) -> _Job | None:
    if horizon is not None:
        rows = session.add(_FILES, compaction.read_group(granted, group, [*layout.keys, *_TIMES]))
        if superseded := count(session, superseded_rows(rows, layout.keys, horizon)):
            return _Job(group, superseded)
    small = group.small_files()
    return _Job(small) if small is not None else None


def _rewrite(session: Session, granted: Granted, layout: Layout, jobs: list[_Job], horizon: int | None) -> tuple[int | None, int]:
    rewrite = Rewrite(granted)
    try:
        for job in jobs:
            rows = session.add(_FILES, compaction.read_group(granted, job.group))
            kept = all_rows(rows) if horizon is None or not job.superseded else without_superseded(rows, layout.keys, horizon)
            rewrite.write(job.group, session.batches(layout.sort(kept)))
    except BaseException:
        rewrite.discard()
        raise
    return rewrite.commit(partial(_summary_and_properties, layout=layout, dropped=rewrite.dropped, horizon=horizon))


def _summary_and_properties(
    table: Table, *, layout: Layout, dropped: int, horizon: int | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The snapshot summary and the table properties of the commit.

    The summary of a feature table has its state, as after a run: the snapshot may be pinned when it is no longer the current one.
    """
    if load_checkpoint(table) is not None:
        raise CommitConflict("a backfill has started and needs the table unchanged")
    action = {OPERATION: DROP_SUPERSEDED if dropped else "compact"}
    if not layout.keys:
        return action, {}
    state = feature_table.state_of(table.properties)
    properties = replace(state, corrections=state.corrections - dropped).to_properties()
    if dropped and horizon is not None:
        properties[DROPPED_BEFORE] = max(times.text(horizon) or "", table.properties.get(DROPPED_BEFORE, ""))
    return {**properties, **action}, properties
