"""Queries of the rows of a chunk: those in a range of time, and of a fraction of the keys."""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from featurestore.compiler.events import CREATED, TIME
from featurestore.compiler.log_diff import CORRECTION, DELETED
from featurestore.compiler.query import (
    Query,
    Source,
    all_of,
    cast,
    column,
    columns,
    expression_template,
    number,
    template,
    with_name,
)

_WITHIN = "feature_timestamp BETWEEN make_timestamptz($lower) AND make_timestamptz($upper)"
_BETWEEN = template(f"SELECT * FROM $rows WHERE {_WITHIN}")
_OF_BUCKET = template("SELECT * FROM $rows WHERE hash($keys) % $buckets = $bucket")
_ROWS = template("SELECT * FROM $rows WHERE $condition")
_STORED = template(f"SELECT $columns, $deleted AS {DELETED} FROM $table WHERE {_WITHIN}")
_DELETED = expression_template(f"coalesce({DELETED}, false)")
_REPEATED = template(f"SELECT 1 FROM $events GROUP BY $keys, {TIME} HAVING count(*) > 1 LIMIT 1")
_WITHOUT_CREATED = template(f"SELECT * EXCLUDE ({CREATED}) FROM $events")
_WITH_CREATED = template(f"SELECT *, CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS {CREATED} FROM $events")
_NEWEST_EVENT = template(f"SELECT epoch_us(max({TIME})) AS newest FROM $events")
_SORTED = template("SELECT * FROM $rows ORDER BY $order")
_TWINS = template("SELECT $same AS twin FROM $rows")
_CAST = template("SELECT $casts FROM $rows")
_SAME_AS_BEFORE = expression_template("$column = lag($column) OVER ()")


def stored_rows(table: Source, names: Sequence[str], lower: int, upper: int, *, deletions: bool) -> Query:
    """The rows of a feature table in [lower, upper] (microseconds), with DELETED false for NULL.

    `deletions`: the table has the column DELETED.
    """
    deleted = _DELETED() if deletions else exp.false()
    return _STORED(table=table, columns=columns(names), deleted=deleted, lower=number(lower), upper=number(upper))


def rows_between(rows: Source, lower: int, upper: int) -> Query:
    """The feature rows in [lower, upper] (microseconds)."""
    return _BETWEEN(rows=rows, lower=number(lower), upper=number(upper))


def rows_of_bucket(rows: Source, key_types: Mapping[str, str], bucket: int, buckets: int) -> Query:
    """The rows of one of `buckets` parts of the keys, by a hash of the keys cast to these types."""
    keys = [cast(column(name), sql_type) for name, sql_type in key_types.items()]
    return _OF_BUCKET(rows=rows, keys=keys, bucket=number(bucket), buckets=number(buckets))


def repeated_event(events: Source, keys: Sequence[str]) -> Query:
    """One row if some events share keys and time, else none."""
    return _REPEATED(events=events, keys=columns(keys))


def without_created(events: Source) -> Query:
    """Events without their created time: a column of nothing but NULL takes as long to store as any other."""
    return _WITHOUT_CREATED(events=events)


def with_unknown_created(events: Source) -> Query:
    """Events of `without_created` with a created time that is NULL."""
    return _WITH_CREATED(events=events)


def newest_event(events: Source) -> Query:
    """One row with the time of the newest event as `newest`, in microseconds; NULL if there is none."""
    return _NEWEST_EVENT(events=events)


def corrections(rows: Source) -> Query:
    """The rows that correct rows of the log, also tombstones."""
    return _ROWS(rows=rows, condition=column(CORRECTION))


def tombstones(rows: Source) -> Query:
    """The rows that mark rows of the log as deleted."""
    return _ROWS(rows=rows, condition=column(DELETED))


def in_file_order(rows: Source, keys: Sequence[str], more: Sequence[str] = ()) -> Query:
    """Feature rows in the order of a feature table's files: by day, then keys, feature_timestamp and the columns `more`.

    A row group then has the rows of a few days, and the rows of a key are ordered by time.
    """
    day = cast(column("feature_timestamp"), "DATE")
    return _SORTED(rows=rows, order=[day, *columns([*keys, "feature_timestamp", *more])])


def sorted_by(rows: Source, names: Sequence[str]) -> Query:
    """All rows in the order of these columns."""
    return _SORTED(rows=rows, order=columns(names))


def twins(rows: Source, keys: Sequence[str]) -> Query:
    """The rows of a file in `in_file_order` that share keys and feature_timestamp with the row before."""
    same = [_SAME_AS_BEFORE(column=column(name)) for name in [*keys, "feature_timestamp"]]
    return _ROWS(rows=_TWINS(rows=rows, same=all_of(same)), condition=column("twin"))


def cast_rows(types: Mapping[str, str], rows: Source) -> Query:
    """The columns `types` (name -> DuckDB type) of a relation, each cast to its type."""
    return _CAST(casts=[with_name(cast(column(name), sql_type), name) for name, sql_type in types.items()], rows=rows)
