"""SQL of the point-in-time join of one view: for every spine row at t, the view's row as of t.

The spine relation has the columns ROW (a unique row number), T (the spine row's time) and one key column per key; the feature relation
has the feature table's columns. Spine rows without a match get NULLs, and NULL keys match nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.literals import typed_literal
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.service_plan import ViewUse

ROW = "__fs_row"
T = "__fs_t"
FEATURE_TIME = "__fs_feature_time"
CREATED_TIME = "__fs_created_time"


def key_column(index: int) -> str:
    """The spine's column name for the key at this position of the entity's keys."""
    return f"__fs_k{index}"


def as_of_join(
    use: ViewUse,
    spine: Query | str,
    features: Query | str,
    *,
    known: str,
    corrected: bool,
    deletions: bool = False,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Query:
    """A query of ROW, FEATURE_TIME, CREATED_TIME and the features under their output names, one row per spine row.

    `known` "now" uses the latest version of each row, "then" only versions created by t. `corrected` False means that the feature
    relation has one version of every row, so that "now" need not choose. `deletions`: the feature relation has the column DELETED,
    which is true in tombstones. `defaults` are values that stand for NULL, by the output name of the feature.
    """
    spine, features = from_sql(spine), from_sql(features)
    keys = [quote_name(key) for key, _ in use.keys]
    # Keys and times are selected in any case.
    selected_anyway = {*(key for key, _ in use.keys), "feature_timestamp", "created_timestamp"}
    values = [quote_name(name) for name in dict.fromkeys(column for column, _ in use.features) if name not in selected_anyway]
    if known == "then":
        rows, at = (_living_then if deletions else _known_then)(keys, values, features), "f.__fs_available"
    else:
        rows, at = f"SELECT * FROM {features}", "f.feature_timestamp"
        if deletions:
            rows = f"SELECT * FROM (\n{_latest(keys, [*values, DELETED], features)}\n) WHERE {DELETED} IS NOT TRUE"
        elif corrected:
            rows = _latest(keys, values, features)
    on = " AND ".join(f"s.{key_column(index)} = f.{key}" for index, key in enumerate(keys))
    fresh = f"epoch_us(s.{T}) - epoch_us(f.feature_timestamp) <= {use.ttl}" if use.ttl is not None else None
    columns = [
        ("f.feature_timestamp", FEATURE_TIME),
        ("f.created_timestamp", CREATED_TIME),
        *((f"f.{quote_name(c)}", quote_name(n)) for c, n in use.features),
    ]
    types = {name: sql_type for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    literals = {quote_name(name): typed_literal(value, types[name]) for name, value in defaults.items()}
    in_time = {name: f"CASE WHEN {fresh} THEN {sql} END" if fresh else sql for sql, name in columns}
    filled = {name: f"coalesce({sql}, {literals[name]})" if name in literals else sql for name, sql in in_time.items()}
    selected = ",\n  ".join(f"{sql} AS {name}" for name, sql in filled.items())
    return text_query(f"SELECT s.{ROW},\n  {selected}\nFROM {spine} s ASOF LEFT JOIN (\n{rows}\n) f ON {on} AND s.{T} >= {at}")


def _latest(keys: list[str], values: list[str], features: str) -> str:
    partition = ", ".join([*keys, "feature_timestamp"])
    return (
        f"SELECT {', '.join([*keys, 'feature_timestamp', 'created_timestamp', *values])} FROM {features}"
        f"\nQUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY created_timestamp DESC NULLS LAST) = 1"
    )


def _known_then(keys: list[str], values: list[str], features: str) -> str:
    """For every time at which the known rows of a key change, the newest row known by then.

    A row is available from the later of its two times. Of the available rows, the one with the greatest (feature_timestamp,
    created_timestamp) is current, so a row that is not greater than the rows before it is never current.
    """
    key_list = ", ".join(keys)
    row = "row(feature_timestamp, created_timestamp)"
    greatest = (
        f"max({row}) OVER (PARTITION BY {key_list} ORDER BY __fs_available, feature_timestamp, created_timestamp ROWS UNBOUNDED PRECEDING)"
    )
    return (
        f"SELECT {', '.join([*keys, '__fs_available', 'feature_timestamp', 'created_timestamp', *values])}"
        "\nFROM (SELECT *, greatest(feature_timestamp, created_timestamp) AS __fs_available"
        f" FROM {features} WHERE created_timestamp IS NOT NULL)"
        f"\nQUALIFY {row} = {greatest}"
        f"\n  AND row_number() OVER (PARTITION BY {key_list}, __fs_available ORDER BY feature_timestamp DESC, created_timestamp DESC) = 1"
    )


def _living_then(keys: list[str], values: list[str], features: str) -> str:
    """As `_known_then`, for rows that end when a tombstone of the same keys and feature_timestamp becomes known.

    At each time at which a row begins or ends, the greatest row that has begun is current if it has not ended. If it has, which is
    rare, the greatest row that has not ended is searched for; there may be none.
    """
    key_list = ", ".join(keys)

    def same(left: str, right: str) -> str:
        return " AND ".join(f"{left}.{key} = {right}.{key}" for key in keys)

    never = "TIMESTAMPTZ 'infinity'"
    row = "row(feature_timestamp, created_timestamp, __fs_ended)"
    dead = f"min(__fs_available) FILTER (WHERE {DELETED}) OVER (PARTITION BY {key_list}, feature_timestamp ORDER BY created_timestamp"
    row_columns = ", ".join([*(f"b.{key}" for key in keys), "b.__fs_available", "l.feature_timestamp", "l.created_timestamp"])
    return (
        f"WITH known AS (SELECT *, greatest(feature_timestamp, created_timestamp) AS __fs_available FROM {features}"
        " WHERE created_timestamp IS NOT NULL),"
        f"\nended AS (SELECT *, coalesce({dead} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING), {never}) AS __fs_ended FROM known),"
        f"\nliving AS MATERIALIZED (SELECT * FROM ended WHERE {DELETED} IS NOT TRUE),"
        f"\nmoments AS (SELECT {key_list}, __fs_available, {row} AS __fs_row FROM living"
        f" UNION ALL SELECT {key_list}, __fs_ended, NULL FROM living WHERE __fs_ended < {never}),"
        f"\nseen AS MATERIALIZED (SELECT DISTINCT {key_list}, __fs_available,"
        f" max(__fs_row) OVER (PARTITION BY {key_list} ORDER BY __fs_available RANGE UNBOUNDED PRECEDING) AS __fs_row FROM moments),"
        f"\nleft_over AS (SELECT {', '.join(f's.{key}' for key in keys)}, s.__fs_available,"
        " max(row(l.feature_timestamp, l.created_timestamp)) FILTER (WHERE l.feature_timestamp IS NOT NULL) AS __fs_row"
        f" FROM seen s LEFT JOIN living l ON {same('s', 'l')} AND l.__fs_available <= s.__fs_available AND s.__fs_available < l.__fs_ended"
        f" WHERE s.__fs_row[3] <= s.__fs_available GROUP BY ALL),"
        f"\nbest AS (SELECT {key_list}, __fs_available, __fs_row[1] AS __fs_feature, __fs_row[2] AS __fs_made FROM seen"
        f" WHERE __fs_row[3] > __fs_available UNION ALL SELECT {key_list}, __fs_available, __fs_row[1], __fs_row[2] FROM left_over)"
        f"\nSELECT {', '.join([row_columns, *(f'l.{value}' for value in values)])}"
        f"\nFROM best b LEFT JOIN living l ON {same('b', 'l')}"
        " AND l.feature_timestamp = b.__fs_feature AND l.created_timestamp = b.__fs_made"
    )
