"""The rows of a continuous view that begin after its watermark, if no more events come: one online row per key has them in order.

They are in an online table of their own, beside that of the view's newest rows, and published with it. Its columns are lists with a value
for each row ahead, so that a lookup finds the row of its own instant.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from featurestore.online.store import Cursor, Read, Row

AT = "__fs_at"
"""The feature_timestamps of the rows, ascending, in microseconds."""
KNOWN = "__fs_known"
"""Their created_timestamps in microseconds, NULL where they are NULL."""
UNTIL = "__fs_until"
"""The feature_timestamp of the first row that was left out because there were more than MOST_ROWS; NULL if none was."""
MOST_ROWS = 2_000
"""Most rows of one key."""
_SUFFIX = "~ahead"


class ReadAt(NamedTuple):
    """What holds at an instant: the rows of a view, and the places of those that the rows ahead do not reach."""

    read: Read
    outdated: frozenset[int]


def ahead_of(table: str) -> str:
    """The name of the online table with the rows ahead of a feature table."""
    return f"{table}{_SUFFIX}"


def feature_table_of(name: str) -> str:
    """The feature table of an online table, which may be one of rows ahead."""
    return name.removesuffix(_SUFFIX)


def goes_with(ahead: Cursor | None, newest: Cursor | None) -> bool:
    """Whether rows ahead begin where the newest rows end. The snapshot may differ: compaction leaves the same rows."""
    if ahead is None or newest is None:
        # Before the first run there may be pushed events.
        return newest is None and (ahead is None or ahead.materialized_through is None)
    return (ahead.materialized_through, ahead.table_id) == (newest.materialized_through, newest.table_id)


def read_at(newest: Read, ahead: Read, instant: int) -> ReadAt:
    """The row of each key that holds at an instant in microseconds, from its newest row up to the watermark and its rows ahead."""
    if not goes_with(ahead.cursor, newest.cursor):
        through = None if newest.cursor is None else newest.cursor.materialized_through
        late = through is None or instant > through
        return ReadAt(newest, frozenset(place for place, row in enumerate(newest.rows) if row is not None and late))
    if not any(ahead.rows):
        return ReadAt(newest, frozenset())
    columns = newest.columns or tuple(name for name in ahead.columns if name not in (AT, KNOWN, UNTIL))
    places = [ahead.columns.index(name) for name in (AT, KNOWN, UNTIL, *columns)]
    rows, outdated = list(newest.rows), set()
    for place, row in enumerate(ahead.rows):
        if row is None:
            continue
        at, known, until, *values = [row.values[index] for index in places]
        if (number := bisect_right(at, instant)) > 0:
            rows[place] = Row(at[number - 1], known[number - 1], tuple([value[number - 1] for value in values]))
        if until is not None and instant >= until:
            outdated.add(place)
    return ReadAt(replace(newest, columns=columns, rows=rows), frozenset(outdated))


def column_names(keys: Sequence[str], features: Sequence[str]) -> tuple[str, ...]:
    """The columns of rows to publish, in order."""
    return (*keys, "feature_timestamp", "created_timestamp", AT, KNOWN, UNTIL, *features)
