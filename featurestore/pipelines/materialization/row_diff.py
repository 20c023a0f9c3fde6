"""Compare the computed rows of a chunk with the feature table's rows, to append only what differs."""

from dataclasses import dataclass

from featurestore.compiler import chunk_rows, log_diff
from featurestore.compiler.log_diff import Compared
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.relations import Handle
from featurestore.engine.results import count
from featurestore.pipelines.materialization.compute import ChunkRows, Task


@dataclass(frozen=True)
class Difference:
    """The rows to append. Of these, `corrections` replace stored rows, and `deletions` of the corrections are tombstones.

    `computed` has all computed rows, and `computed_rows` is their number.
    """

    rows: Query
    computed: Handle
    computed_rows: int
    corrections: int
    deletions: int


def compare(task: Task, chunk: ChunkRows, fresh: bool) -> Difference:
    """The new rows of a chunk, and corrections of stored rows whose values have changed or that are no longer computed.

    `fresh`: the table has no rows of the chunk, so all rows are new.
    """
    session, keys, features = task.session, task.keys, task.features
    versioned = task.view.every is None and task.view.source.created is not None
    computed = session.create_table("__fs_computed", chunk.computed)
    rows = count(session, computed)
    if fresh and not versioned:
        return Difference(log_diff.first_rows(keys, features, computed, task.run), computed, rows, 0, 0)
    stored_latest = session.create_view("__fs_stored_latest", log_diff.latest_versions(chunk.stored, keys))
    vanished = session.create_table("__fs_vanished", log_diff.vanished_rows(keys, stored_latest, computed))
    computed_latest = session.create_view("__fs_computed_latest", log_diff.latest_versions(computed, keys))
    compared = Compared(computed, computed_latest, chunk.stored, stored_latest, vanished)
    appended = session.create_table("__fs_appended", log_diff.appended_rows(keys, features, versioned, compared, task.run))
    corrections, deletions = (count(session, part(appended)) for part in (chunk_rows.corrections, chunk_rows.tombstones))
    return Difference(all_rows(appended), computed, rows, corrections, deletions)
