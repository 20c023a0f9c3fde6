"""Compacting a table: the small files of a month become one, sorted; on the way, corrections that nothing needs may be folded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from featurestore.compiler.expressions import quoted
from featurestore.compiler.storage import order
from featurestore.dsl import documents
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict, Conflict, OutOfResources
from featurestore.lakehouse import compaction, tables
from featurestore.lakehouse.compaction import Group, Rewrite
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.tables import Table
from featurestore.pipelines.materialization.checkpoint import unfinished
from featurestore.pipelines.planning.apply import DEFINITION
from featurestore.records import feature_table, stored_definition
from featurestore.records.feature_table import FOLDED
from featurestore.records.runtime import Runtime
from featurestore.values import times

WRITE_ANEW = "change a word of the view's definition, such as its description, and apply it, which writes it anew"
_FILES = "__fs_files"
_TIMES = ("feature_timestamp", "created_timestamp")


@dataclass(frozen=True)
class Layout:
    """How the rows of a table lie in its files: sorted by `order` (SQL), or as they came where it is empty.

    `keys` has the columns that make a row one of several versions, empty where a table has no versions of rows. `foldable`
    False: the source tells of each version when it became known, and would bring a dropped one again.
    """

    order: str
    keys: tuple[str, ...] = ()
    foldable: bool = False


@dataclass(frozen=True)
class Compacted:
    """What was done to one table, or would be.

    `files` and `bytes` are of the files that were replaced, `rows` of the corrections that were folded. `before` and
    `snapshot_id` are the snapshots on both sides of the commit, None where there was none. `note` tells what was left undone, and why.
    """

    files: int = 0
    bytes: int = 0
    rows: int = 0
    before: int | None = None
    snapshot_id: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class _Job:
    """Files to rewrite, and how many of their rows are to be dropped."""

    group: Group
    folded: int = 0


def feature_layout(table: Table) -> Layout | None:
    """The layout of a feature table, from the view's definition in its properties; None for a table that is none of ours.

    Raises: Conflict naming the table, when what it holds is no definition.
    """
    document = table.properties.get(DEFINITION)
    if document is None:
        return None
    with stored_definition.reading(f"the definition in the properties of table {'.'.join(table.name())}", WRITE_ANEW):
        view = documents.view(json.loads(document))
        versioned = view.every is None and view.source.created is not None
        return Layout(order(view.entity.keys, "created_timestamp"), tuple(view.entity.keys), not versioned)


def log_layout(table: Table) -> Layout:
    """The layout of a log such as the registry: in the order of its times, if it has any."""
    schema = tables.arrow_schema(table)
    return Layout(", ".join(quoted(name) for name in schema.names if str(schema.field(name).type).startswith("timestamp")))


def compact(runtime: Runtime, table: Table, layout: Layout, horizon: int | None, dry_run: bool) -> Compacted:
    """Rewrite the small files of every month that has many of them, all in one commit; the handle then shows the new state.

    With a `horizon` (microseconds), corrections go as well: a row whose keys and feature_timestamp have a later version that was
    created by then. Of a race for the same files the first one wins: `note` says so, and nothing is left of the other.
    Raises: OutOfResources naming the table; NotReady.
    """
    if unfinished(table) is not None:
        return Compacted(note="not compacted: a backfill is under way, which counts on the table as it is")
    corrected = bool(layout.keys) and feature_table.state(table.properties).corrections > 0
    refused = horizon is not None and corrected and not layout.foldable
    note = "not folded: its source says when each row became known, and would bring the folded ones again" if refused else None
    wanted = horizon if corrected and layout.foldable else None
    groups = [group for group in compaction.partitions(table) if wanted is not None or group.fragmented()]
    if not groups:
        return Compacted(note=note)
    with runtime.engine.session(data_folders(table)) as session:
        try:
            jobs = [job for group in groups if (job := _job(session, table, group, layout, wanted)) is not None]
            found = Compacted(
                sum(job.group.files for job in jobs), sum(job.group.bytes for job in jobs), sum(job.folded for job in jobs), note=note
            )
            if dry_run or not jobs:
                return found
            before, snapshot_id = _rewrite(session, table, layout, jobs, wanted)
        except OutOfResources as error:
            error.message = f"compacting {'.'.join(table.name())}: {error.message}"
            raise
        except Conflict as error:
            return Compacted(note=f"not compacted: {error.message}")
    return replace(found, before=before, snapshot_id=snapshot_id)


def _job(session: Session, table: Table, group: Group, layout: Layout, horizon: int | None) -> _Job | None:
    if horizon is not None:
        session.add(_FILES, compaction.read(table, group, [*layout.keys, *_TIMES]))
        session.set({"horizon": horizon})
        counted = session.batches(f"SELECT count(*) FROM (SELECT 1 FROM {_FILES} QUALIFY {_superseded(layout.keys)})").read_all()
        folded = int(counted.column(0)[0].as_py())
        if folded:
            return _Job(group, folded)
    small = group.fragmented()
    return _Job(small) if small is not None else None


def _rewrite(session: Session, table: Table, layout: Layout, jobs: list[_Job], horizon: int | None) -> tuple[int | None, int]:
    rewrite = Rewrite(table)
    order_by = f" ORDER BY {layout.order}" if layout.order else ""
    try:
        for job in jobs:
            session.add(_FILES, compaction.read(table, job.group))
            kept = f" QUALIFY NOT {_superseded(layout.keys)}" if job.folded else ""
            rewrite.write(job.group, session.batches(f"SELECT * FROM {_FILES}{kept}{order_by}"))
    except BaseException:
        rewrite.discard()
        raise
    return rewrite.commit(partial(_notes, layout=layout, folded=rewrite.dropped, horizon=horizon))


def _superseded(keys: tuple[str, ...]) -> str:
    """Whether a later version of the row was created by the horizon; an unknown created time is the oldest."""
    partition = ", ".join(map(quoted, [*keys, "feature_timestamp"]))
    known = "FILTER (WHERE created_timestamp <= make_timestamptz(getvariable('horizon')))"
    newest = f"max(created_timestamp) {known} OVER (PARTITION BY {partition})"
    return f"coalesce(created_timestamp < {newest}, {newest} IS NOT NULL)"


def _notes(table: Table, *, layout: Layout, folded: int, horizon: int | None) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """A snapshot of a feature table tells its state as a run's does: it may be pinned when it is no longer the current one."""
    if unfinished(table) is not None:
        raise CommitConflict("a backfill has begun, which counts on the table as it is")
    action = {"featurestore.action": "fold" if folded else "compact"}
    if not layout.keys:
        return action, {}
    state = feature_table.state(table.properties)
    properties = replace(state, corrections=state.corrections - folded).to_properties()
    if folded and horizon is not None:
        properties[FOLDED] = max(times.text(horizon) or "", table.properties.get(FOLDED, ""))
    return {**properties, **action}, properties
