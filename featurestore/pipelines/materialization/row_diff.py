"""Comparing the rows of a chunk with what the table holds of it: what is left is what a run appends."""

from dataclasses import dataclass

from featurestore.compiler import log_diff
from featurestore.compiler.log_diff import APPENDED, COMPUTED, COMPUTED_LATEST, CORRECTION, DELETED, STORED, STORED_LATEST, VANISHED
from featurestore.pipelines.materialization.chunks import Chunk
from featurestore.pipelines.materialization.compute import Opened, Task, count


@dataclass(frozen=True)
class Difference:
    """`rows` is a SELECT of what to append, of which `corrections` are corrections, and of these `deletions` tombstones."""

    rows: str
    computed: int
    corrections: int
    deletions: int


def compare(task: Task, opened: Opened, chunk: Chunk, rows: str) -> Difference:
    """What to append of the SELECT `rows` of a chunk: what the table lacks, and corrections of what it has otherwise."""
    session, keys, features = task.session, task.keys, task.features
    versioned = task.view.every is None and task.view.source.created is not None
    session.run(f"CREATE OR REPLACE TEMP TABLE {COMPUTED} AS {rows}")
    computed = count(session, COMPUTED)
    if opened.fresh and not versioned:
        return Difference(log_diff.first_rows(keys, features), computed, 0, 0)
    session.run(f"CREATE OR REPLACE TEMP VIEW {STORED_LATEST} AS {log_diff.latest_versions(STORED, keys)}")
    session.run(f"CREATE OR REPLACE TEMP TABLE {VANISHED} AS {log_diff.vanished_rows(keys)}")
    session.run(f"CREATE OR REPLACE TEMP VIEW {COMPUTED_LATEST} AS {log_diff.latest_versions(COMPUTED, keys)}")
    session.run(f"CREATE OR REPLACE TEMP TABLE {APPENDED} AS {log_diff.appended_rows(keys, features, versioned)}")
    return Difference(
        f"SELECT * FROM {APPENDED}",
        computed,
        count(session, f"{APPENDED} WHERE {CORRECTION}"),
        count(session, f"{APPENDED} WHERE {DELETED}"),
    )


def first_rows(task: Task, rows: str) -> str:
    """What to append of the SELECT `rows` of unique rows where the table holds none of them: all, without a copy."""
    return log_diff.first_rows(task.keys, task.features, f"({rows})")
