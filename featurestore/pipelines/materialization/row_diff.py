"""Comparing the rows of a chunk with what the table holds of it: what is left is what a run appends."""

from dataclasses import dataclass

from featurestore.compiler import diff
from featurestore.compiler.diff import APPENDED, COMPUTED, COMPUTED_LATEST, CORRECTION, DELETED, HELD, HELD_LATEST, VANISHED
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
        return Difference(diff.first_rows(keys, features), computed, 0, 0)
    session.run(f"CREATE OR REPLACE TEMP VIEW {HELD_LATEST} AS {diff.latest(HELD, keys)}")
    session.run(f"CREATE OR REPLACE TEMP TABLE {VANISHED} AS {diff.vanished(keys)}")
    session.run(f"CREATE OR REPLACE TEMP VIEW {COMPUTED_LATEST} AS {diff.latest(COMPUTED, keys)}")
    session.run(f"CREATE OR REPLACE TEMP TABLE {APPENDED} AS {diff.appended(keys, features, versioned)}")
    return Difference(
        f"SELECT * FROM {APPENDED}",
        computed,
        count(session, f"{APPENDED} WHERE {CORRECTION}"),
        count(session, f"{APPENDED} WHERE {DELETED}"),
    )


def first_rows(task: Task, rows: str) -> str:
    """What to append of the SELECT `rows` of unique rows where the table holds none of them: all, without a copy."""
    return diff.first_rows(task.keys, task.features, f"({rows})")
