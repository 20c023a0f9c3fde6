"""Queries of the rows that a write to a table appends, from the rows that were given and those that the table has."""

from collections.abc import Collection, Sequence

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import Query, Source, all_of, column, columns, number, same_columns, template, with_name
from featurestore.compiler.relations import Handle

_AT = template("SELECT * REPLACE (make_timestamptz($at) AS feature_timestamp) FROM $rows")
_MERGED = template(
    "SELECT $items, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS created_timestamp FROM $given AS g LEFT JOIN $stored AS s ON $same"
)
_GIVEN = template("SELECT *, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS created_timestamp FROM $given")
_LIVE = template(f"SELECT * FROM $stored WHERE NOT {DELETED}")
_OF_OTHER_KEYS = template(f"SELECT s.* FROM $stored AS s ANTI JOIN $given AS g ON $same WHERE NOT s.{DELETED}")
_CHANGED = template(
    f"SELECT $keys, a.feature_timestamp FROM $appended AS a JOIN $stored AS s ON $same WHERE NOT s.{DELETED} ORDER BY ALL LIMIT 1"
)


def rows_at(rows: Source, at: int) -> Query:
    """The rows with the same feature_timestamp, in microseconds, for all."""
    return _AT(rows=rows, at=number(at))


def merged_rows(
    written: Handle, stored: Source, keys: Sequence[str], features: Sequence[str], lacking: Collection[str], timed: bool
) -> Query:
    """The rows to store for the rows `written`; features that these are `lacking` have the values of the stored rows.

    `stored` has at most one row for each of the keys, and with `timed` for each of the keys and feature_timestamp. Without such a row
    the features are NULL.
    """
    if not lacking:
        return _GIVEN(given=written)
    names = [*keys, "feature_timestamp"]
    items = [*columns(names, "g"), *(with_name(column(name, "s" if name in lacking else "g"), name) for name in features)]
    return _MERGED(items=items, given=written, stored=stored, same=all_of(same_columns(names if timed else keys, "g", "s")))


def live(stored: Source) -> Query:
    """The stored rows that are not tombstones."""
    return _LIVE(stored=stored)


def live_rows_of_other_keys(stored: Source, written: Source, keys: Sequence[str]) -> Query:
    """The stored rows, tombstones left out, whose keys are not among the rows given."""
    return _OF_OTHER_KEYS(stored=stored, given=written, same=all_of(same_columns(keys, "s", "g")))


def changed_row(appended: Source, stored: Source, keys: Sequence[str]) -> Query:
    """The keys and feature_timestamp of the first appended row that would change a stored one; no row if none would."""
    same = all_of(same_columns([*keys, "feature_timestamp"], "a", "s"))
    return _CHANGED(keys=columns(keys, "a"), appended=appended, stored=stored, same=same)
