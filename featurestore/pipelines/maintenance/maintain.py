"""Table maintenance: expire snapshots that nothing pins, remove orphan files, and compact small files."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa

from featurestore.engine import orphaned_spill
from featurestore.errors import CommitConflict, Conflict, Unsupported
from featurestore.lakehouse import maintenance, tables
from featurestore.lakehouse.maintenance import RemovedFiles
from featurestore.lakehouse.table import Table
from featurestore.online.store import Cursor
from featurestore.pipelines.maintenance import version_tags
from featurestore.pipelines.maintenance.compact import CompactionResult, compact, log_layout
from featurestore.pipelines.maintenance.repair import REPAIR_COMMAND, check_table, table_identifiers
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT, checkpoint_files, load_checkpoint
from featurestore.pipelines.materialization.rewrite import Layout, feature_layout
from featurestore.pipelines.training_sets import build_tags
from featurestore.records import expiries
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.records.version_log import VersionLog, log_name
from featurestore.values import times
from featurestore.values.arguments import WAIT, check_age
from featurestore.values.humanize import format_names
from featurestore.values.result import Result

GRACE = timedelta(days=1)
"""Minimum age of an orphan file, longer than any write takes: a younger file may belong to a commit still to come."""

MAINTENANCE = "maintenance"
"""The name of the lease of a store's maintenance."""
SPILL = "spill"
"""Stands for a table's name in the entry for spill files that dead queries left behind."""


@dataclass(frozen=True, eq=False)
class TableMaintenance(Result):
    """What maintenance did to one table, or in a dry run would do.

    `snapshots` were expired; `files` (`bytes`) are orphan files that were removed; `compacted_files` (`compacted_bytes`) were replaced
    by fewer; `dropped_rows` superseded versions were dropped from the current snapshot. `note` says what was skipped, and why; None if
    nothing was.
    """

    table: str
    snapshots: int
    files: int
    bytes: int
    compacted_files: int
    compacted_bytes: int
    dropped_rows: int
    note: str | None


def maintain(
    runtime: Runtime, older_than: timedelta, dry_run: bool, drop_superseded_after: timedelta | None = None, wait: timedelta = WAIT
) -> list[TableMaintenance]:
    """Expire snapshots, remove orphan files and compact small ones, in every table of the store.

    Tagged snapshots, and so every training set and what it pins, and every named version, are kept. Files younger than a day are never
    removed, whatever `older_than`: a write may be in progress. With `drop_superseded_after`, versions of rows that were superseded longer
    ago than that are dropped; without it every version is kept. One process at a time maintains a store: another one is waited for, for
    up to `wait`. Raises: LeaseHeld.
    """
    for name, value in (
        ("older_than", older_than),
        ("drop_superseded_after", timedelta(0) if drop_superseded_after is None else drop_superseded_after),
    ):
        check_age(value, name)
    with Leases(runtime, wait.total_seconds()) as leases:
        if not dry_run:
            leases.take(MAINTENANCE)
        return _maintain_tables(runtime, leases, older_than, dry_run, drop_superseded_after)


def _maintain_tables(
    runtime: Runtime, leases: Leases, older_than: timedelta, dry_run: bool, drop_superseded_after: timedelta | None
) -> list[TableMaintenance]:
    present = datetime.now(UTC)
    horizon = None if drop_superseded_after is None else times.micros(present - drop_superseded_after)
    if not dry_run and tables.find(runtime.catalog, log_name(runtime)) is not None:
        version_tags.finish_interrupted(runtime, VersionLog(runtime))
    names = list(table_identifiers(runtime))
    # Removing comes before compacting, so that maintenance can free space on a full disk.
    cleared = {name: _clear(runtime, name, present - older_than, present - max(older_than, GRACE), dry_run) for name in names}
    done = []
    for name in names:
        snapshots, removed, notes = cleared[name]
        damaged = any(REPAIR_COMMAND in note for note in notes)
        compacted = CompactionResult() if damaged else _compact(runtime, leases, name, horizon, dry_run)
        note = "; ".join([*notes, *([compacted.note] if compacted.note else [])]) or None
        counts = (snapshots, removed.files, removed.bytes, compacted.files, compacted.bytes, compacted.rows)
        done.append(TableMaintenance(name, *counts, note))
    left = orphaned_spill.remove_orphaned_spill(runtime.settings.spill_path(), present - max(older_than, GRACE), dry_run)
    return [*done, TableMaintenance(SPILL, 0, left.files, left.bytes, 0, 0, 0, None)] if left.files else done


def _clear(
    runtime: Runtime, identifier: str, before: datetime, orphaned_before: datetime, dry_run: bool
) -> tuple[int, RemovedFiles, list[str]]:
    """Expire snapshots and remove orphan files of one table. A conflict with another writer skips the table, with a note."""
    table = tables.load(runtime.catalog, identifier)
    snapshots, removed, notes = 0, RemovedFiles(0, 0), []
    if (damage := check_table(runtime, identifier, table)) is not None:
        notes.append(f"{damage}; {REPAIR_COMMAND} shows details and rolls the table back to its last complete snapshot")
        if damage.missing:
            # A snapshot that would expire may be the one that a repair rolls back to.
            return snapshots, removed, notes
    try:
        abandoned = _is_abandoned(table, orphaned_before)
        if abandoned:
            notes.append("an interrupted backfill is abandoned and its checkpoint dropped; the next run starts it again")
        if not dry_run:
            maintenance.bound_metadata(table)
            if abandoned:
                tables.set_properties(table, {}, [CHECKPOINT])
        unfinished_ids = build_tags.settle(runtime, table, orphaned_before, dry_run)
        if unfinished_ids:
            notes.append(f"tags of interrupted builds removed: {format_names(unfinished_ids)} never became training sets")
        if stray := version_tags.remove_stray_tags(runtime, table, dry_run):
            notes.append(f"tags of an interrupted call removed: {format_names(stray)}")
        cursor = _cursor(runtime, identifier)
        reader = None if cursor is None else cursor.snapshot_id
        untagged, note = [*(TAG + id for id in unfinished_ids), *stray], partial(expiries.with_expiry, runtime.author)
        expired = maintenance.ExpiredSnapshots(())
        try:
            expired = maintenance.expire_snapshots(table, before, dry_run, reader=reader, untagged=untagged, note=note)
        except Unsupported as error:
            notes.append(f"no snapshot expired: {error.message}")
        snapshots = expired.snapshots
        without, pending_files = (expired.snapshot_ids if dry_run else ()), (maintenance.no_files if abandoned else checkpoint_files)
        removed = maintenance.remove_orphan_files(table, orphaned_before, dry_run, without=without, pending_files=pending_files)
    except Conflict as error:
        notes.append(error.message)
    return snapshots, removed, notes


def _is_abandoned(table: Table, before: datetime) -> bool:
    """Whether the table has the checkpoint of a backfill that has made no progress since `before`."""
    checkpoint = load_checkpoint(table)
    if checkpoint is None:
        return False
    started = times.moment(checkpoint.run)
    return max(started, maintenance.last_changed(table, checkpoint.files) or started) < before


def _compact(runtime: Runtime, leases: Leases, identifier: str, horizon: int | None, dry_run: bool) -> CompactionResult:
    """Compact one table. Where the online store was up to date, move its cursor to the new snapshot, which has the same newest rows."""
    table = tables.load(runtime.catalog, identifier)
    try:
        layout = _layout(runtime, identifier, table)
    except Conflict as error:
        return CompactionResult(note=f"not compacted: {error.message}")
    if layout is None:
        return CompactionResult()
    done = compact(runtime, leases, table, layout, horizon, dry_run)
    leases.release(identifier)
    if done.snapshot_id is not None and (cursor := _cursor(runtime, identifier)) is not None and cursor.snapshot_id == done.before:
        moved = replace(cursor, snapshot_id=done.snapshot_id)
        # A concurrent publish has moved the cursor already, and takes precedence.
        with suppress(CommitConflict):
            runtime.online.publish(identifier.rpartition(".")[2], pa.table({}), keys=(), cursor=moved, since=cursor)
    return done


def _layout(runtime: Runtime, identifier: str, table: Table) -> Layout | None:
    """The layout to compact a table to; None for tables that are not compacted: a training set is written once and never grows."""
    namespace = identifier.rpartition(".")[0]
    if namespace == runtime.settings.features_namespace:
        return feature_layout(table)
    return None if namespace == runtime.settings.training_sets_namespace else log_layout(table)


def _cursor(runtime: Runtime, identifier: str) -> Cursor | None:
    namespace, _, name = identifier.rpartition(".")
    return runtime.online.cursor(name) if namespace == runtime.settings.features_namespace else None
