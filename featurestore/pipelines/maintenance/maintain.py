"""Upkeep: expire snapshots that nothing pins, sweep files that no kept snapshot reaches, and make few files of many."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.engine import orphaned_spill
from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import maintenance, tables
from featurestore.lakehouse.maintenance import Swept
from featurestore.lakehouse.tables import Table
from featurestore.online.store import Cursor
from featurestore.pipelines.maintenance.compact import Compacted, Layout, compact, feature_layout, log_layout
from featurestore.pipelines.maintenance.repair import COMMAND, identifiers, looked_at
from featurestore.pipelines.materialization.checkpoint import UNFINISHED, unfinished, wanted_files
from featurestore.pipelines.training_sets import build_tags
from featurestore.pipelines.training_sets.training_set import TAG
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.arguments import age
from featurestore.values.humanize import listed

GRACE = timedelta(days=1)
"""Longer than any write takes: a file that no snapshot reaches may be one of a commit to come."""

SPILL = "spill"
"""What stands in the place of a table for what dead queries left."""


@dataclass(frozen=True)
class Upkeep:
    """What was done to one table, or would be.

    `snapshots` expired; `files` of `bytes` bytes swept; `compacted_files` of `compacted_bytes` bytes became few; `folded_rows` corrections
    are gone from the head. `note` tells what was left undone, and why; None where nothing was.
    """

    table: str
    snapshots: int
    files: int
    bytes: int
    compacted_files: int
    compacted_bytes: int
    folded_rows: int
    note: str | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return asdict(self)


def maintain(runtime: Runtime, older_than: timedelta, dry_run: bool, fold_older_than: timedelta | None = None) -> list[Upkeep]:
    """Tidy every table of the store. Tagged snapshots, and so every training set and what it pins, are kept.

    Files younger than a day are never swept, whatever `older_than`: a write may still be under way. With `fold_older_than`, corrections
    that were superseded longer ago are left out of the compacted files; without it every version of every row stays.
    """
    for name, given in (("older_than", older_than), ("fold_older_than", timedelta(0) if fold_older_than is None else fold_older_than)):
        age(given, name)
    present = datetime.now(UTC)
    horizon = None if fold_older_than is None else times.micros(present - fold_older_than)
    names = list(identifiers(runtime))
    # What frees space comes first, so that a full disk cannot keep upkeep from doing so.
    cleared = {name: _clear(runtime, name, present - older_than, present - max(older_than, GRACE), dry_run) for name in names}
    done = []
    for name in names:
        snapshots, swept, notes = cleared[name]
        compacted = Compacted() if any(COMMAND in note for note in notes) else _compact(runtime, name, horizon, dry_run)
        said = "; ".join([*notes, *([compacted.note] if compacted.note else [])])
        done.append(Upkeep(name, snapshots, swept.files, swept.bytes, compacted.files, compacted.bytes, compacted.rows, said or None))
    left = orphaned_spill.sweep(runtime.settings.spill_path(), present - max(older_than, GRACE), dry_run)
    return [*done, Upkeep(SPILL, 0, left.files, left.bytes, 0, 0, 0, None)] if left.files else done


def _clear(runtime: Runtime, identifier: str, before: datetime, swept_before: datetime, dry_run: bool) -> tuple[int, Swept, list[str]]:
    """Expire and sweep one table; a table that is in other hands is left to them, with a word."""
    table = tables.load(runtime.catalog, identifier)
    snapshots, swept, notes = 0, Swept(0, 0), []
    if (found := looked_at(runtime, identifier, table)) is not None:
        notes.append(f"{found}; {COMMAND} says more, and leads back to the last snapshot that is whole")
        if found.missing:
            # What would expire may be what it is led back to.
            return snapshots, swept, notes
    try:
        abandoned = _abandoned(table, swept_before)
        if abandoned:
            notes.append("a backfill that was cut off is given up, and with it what it had ready: a run would begin it anew")
        if not dry_run:
            maintenance.bound_metadata(table)
            if abandoned:
                tables.set_properties(table, {}, [UNFINISHED])
        never = build_tags.settle(runtime, table, swept_before, dry_run)
        if never:
            notes.append(f"what builds of {listed(never)} held is let go: they were cut off, and their training sets never came")
        held = _cursor(runtime, identifier)
        reader = None if held is None else held.snapshot_id
        expired = maintenance.expire(table, before, dry_run, reader=reader, untagged=[TAG + id for id in never])
        snapshots = expired.snapshots
        without, wanted = (expired.snapshot_ids if dry_run else ()), (maintenance.nothing if abandoned else wanted_files)
        swept = maintenance.sweep(table, swept_before, dry_run, without=without, wanted=wanted)
    except Conflict as error:
        notes.append(error.message)
    return snapshots, swept, notes


def _abandoned(table: Table, before: datetime) -> bool:
    """Whether a backfill of the table lies unfinished, to which nothing has come since."""
    work = unfinished(table)
    if work is None:
        return False
    return max(times.moment(work.run), maintenance.last_changed(table, work.files) or times.moment(work.run)) < before


def _compact(runtime: Runtime, identifier: str, horizon: int | None, dry_run: bool) -> Compacted:
    """Compact one table and let the online store, where it is up to date, stand on the new snapshot: the rows are the same."""
    table = tables.load(runtime.catalog, identifier)
    try:
        layout = _layout(runtime, identifier, table)
    except Conflict as error:
        return Compacted(note=f"not compacted: {error.message}")
    if layout is None:
        return Compacted()
    done = compact(runtime, table, layout, horizon, dry_run)
    if done.snapshot_id is not None and (held := _cursor(runtime, identifier)) is not None and held.snapshot_id == done.before:
        moved = Cursor(done.snapshot_id, held.materialized_through)
        # A publish that came in between is at another snapshot, and stands.
        with suppress(CommitConflict):
            runtime.online.publish(identifier.rpartition(".")[2], pa.table({}), keys=(), cursor=moved, since=held)
    return done


def _layout(runtime: Runtime, identifier: str, table: Table) -> Layout | None:
    """None for tables whose files are left as they are: a training set is one write, and never grows."""
    namespace = identifier.rpartition(".")[0]
    if namespace == runtime.settings.features_namespace:
        return feature_layout(table)
    return None if namespace == runtime.settings.training_sets_namespace else log_layout(table)


def _cursor(runtime: Runtime, identifier: str) -> Cursor | None:
    namespace, _, name = identifier.rpartition(".")
    return runtime.online.cursor(name) if namespace == runtime.settings.features_namespace else None
