"""Compact a table: merge the small files of each month into sorted ones and, when asked, drop superseded versions of rows."""

from dataclasses import dataclass, replace

from featurestore.compiler.superseded import superseded_rows
from featurestore.engine.results import count
from featurestore.engine.session import Session
from featurestore.errors import Conflict, OutOfResources
from featurestore.lakehouse import compaction, tables
from featurestore.lakehouse.compaction import FileGroup
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization.checkpoint import load_checkpoint
from featurestore.pipelines.materialization.rewrite import FILES, Job, Layout, rewrite
from featurestore.records import feature_table
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime

_TIMES = ("feature_timestamp", "created_timestamp")


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


def log_layout(table: Table) -> Layout:
    """The layout of a log table such as the registry: sorted by its timestamp columns, if it has any."""
    schema = tables.arrow_schema(table)
    return Layout(tuple(name for name in schema.names if str(schema.field(name).type).startswith("timestamp")))


def compact(runtime: Runtime, leases: Leases, table: Table, layout: Layout, horizon: int | None, dry_run: bool) -> CompactionResult:
    """Rewrite the small files of every month that has many of them, in one commit, and refresh `table`.

    A feature table's lease is taken if there is anything to rewrite; a table that is being materialized is left alone, and `note` says so.
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
            if layout.keys and not dry_run:
                leases.take(table.name, wait=False)
            jobs = [job for group in groups if (job := _job(session, granted, group, layout, drop_before)) is not None]
            result = CompactionResult(
                sum(job.group.files for job in jobs), sum(job.group.bytes for job in jobs), sum(job.superseded for job in jobs), note=note
            )
            if dry_run or not jobs:
                return result
            before, snapshot_id = rewrite(session, granted, layout, jobs, drop_before)
        except OutOfResources as error:
            error.message = f"compacting {table.name}: {error.message}"
            raise
        except Conflict as error:
            return CompactionResult(note=f"not compacted: {error.message}")
    return replace(result, before=before, snapshot_id=snapshot_id)


def _job(session: Session, granted: Granted, group: FileGroup, layout: Layout, horizon: int | None) -> Job | None:
    if horizon is not None:
        rows = session.add(FILES, compaction.read_group(granted, group, [*layout.keys, *_TIMES]))
        if superseded := count(session, superseded_rows(rows, layout.keys, horizon)):
            return Job(group, superseded)
    small = group.small_files()
    return Job(small) if small is not None else None
