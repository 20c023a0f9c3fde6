"""Queries that divide rows by a hash of their keys into buckets, for workers that each compute some of them."""

from collections.abc import Collection, Sequence

from featurestore.compiler.events import Events
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.parameters import Bounds, bound_sql
from featurestore.compiler.query import Query, Source, cast, column, columns, from_sql, number, template, text_expression, text_query
from featurestore.compiler.relations import Handle

BUCKET = "__fs_bucket"
"""The column with a row's bucket."""

FEATURE_TIME = "feature_timestamp"
"""SQL of the time of a stored row, of the type of `Events.time`."""

# Of the upper half of the hash: chunks of a bucket are divided by the lower one.
_HASH = "(hash({keys}) >> 32) % {buckets}"
_OF_BUCKETS = template(f"SELECT * FROM $rows WHERE {BUCKET} IN ($wanted)")
_WITH_BUCKET = template(f"SELECT $names, $bucket AS {BUCKET} FROM $rows")


def bucket_of(keys: Sequence[str], buckets: int) -> str:
    """SQL of the bucket of a row, from the SQL of its keys in the feature table's types."""
    return _HASH.format(keys=", ".join(keys), buckets=int(buckets))


def spread_nulls(bucket: str, keys: Sequence[str], row: str, buckets: int) -> str:
    """SQL of a bucket as `bucket_of` of the same keys; rows with a NULL key, which match nothing, are spread over all by their number."""
    missing = " OR ".join(f"{key} IS NULL" for key in keys)
    return f"CASE WHEN {missing} THEN {quote_name(row)} % {int(buckets)} ELSE {bucket} END"


def with_bucket(rows: Source, names: Sequence[str], bucket: str) -> Query:
    """These columns of all rows, and the bucket that this SQL computes."""
    return _WITH_BUCKET(rows=rows, names=columns(names), bucket=text_expression(bucket))


def of_buckets(rows: Query, wanted: Collection[int]) -> Query:
    """Those rows of `with_bucket` that are in one of these buckets."""
    return _OF_BUCKETS(rows=rows, wanted=[number(bucket) for bucket in sorted(wanted)])


def cast_key(name: str, sql_type: str) -> str:
    """SQL of a key column in its type in the feature table."""
    return str(cast(column(name), sql_type).sql(dialect="duckdb"))


def raw_event_rows(events: Events, rows: Handle, bounds: Bounds, names: Sequence[str]) -> Query:
    """These raw columns of the source's rows in the relation `rows` that become events within the bounds of a run."""
    lower, upper = (f"make_timestamptz({bound_sql(bound)})" for bound in (bounds.events_lower, bounds.events_upper))
    return text_query(
        f"SELECT {', '.join(map(quote_name, names))}\nFROM {from_sql(rows)}\nWHERE {events.keep} AND {events.has_keys}"
        f"\n  AND {events.time} BETWEEN {lower} AND {upper}"
    )
