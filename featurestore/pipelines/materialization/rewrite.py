"""Rewrite groups of files of a table in its sort order, without a change of rows, or without superseded ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from featurestore.compiler.chunk_rows import in_file_order, sorted_by
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.superseded import without_superseded
from featurestore.dsl import documents
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict
from featurestore.lakehouse import compaction
from featurestore.lakehouse.commits import ATTEMPTS
from featurestore.lakehouse.compaction import FileGroup, Rewrite
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.writes import OPERATION
from featurestore.pipelines.materialization.checkpoint import load_checkpoint
from featurestore.records import feature_table, stored_definition
from featurestore.records.feature_table import DEFINITION, DROPPED_BEFORE
from featurestore.records.operations import DROP_SUPERSEDED
from featurestore.values import times

FILES = "__fs_files"
"""The session's relation with the rows of a group of files."""
WRITE_ANEW = "change a word of the view's definition, such as its description, and apply it, which writes the definition again"


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
class Job:
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
        return layout_of(documents.view(json.loads(document)))


def layout_of(view: FeatureView) -> Layout:
    """The layout of the feature table of a view."""
    versioned = view.every is None and view.source.created is not None
    return Layout(("created_timestamp",), tuple(view.entity.keys), not versioned)


def rewrite(
    session: Session, granted: Granted, layout: Layout, jobs: Sequence[Job], horizon: int | None = None, attempts: int = ATTEMPTS
) -> tuple[int | None, int]:
    """Write the files that replace those of the jobs, and swap them in by one commit; with a `horizon`, without superseded rows.

    Returns the snapshots before and after. Raises: CommitConflict if one of the files is gone, if a backfill has started, or
    after `attempts` conflicts; OutOfResources.
    """
    swap = Rewrite(granted)
    try:
        for job in jobs:
            rows = session.add(FILES, compaction.read_group(granted, job.group))
            kept = all_rows(rows) if horizon is None or not job.superseded else without_superseded(rows, layout.keys, horizon)
            swap.write(job.group, session.batches(layout.sort(kept)))
    except BaseException:
        swap.discard()
        raise
    return swap.commit(partial(_summary_and_properties, layout=layout, dropped=swap.dropped, horizon=horizon), attempts)


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
