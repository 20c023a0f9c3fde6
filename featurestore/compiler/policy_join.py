"""The join of a view under a policy: what becomes of the row that the join selected."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.literals import typed_literal
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, ROW
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.row_policy import VISIBLE, BoundPolicy
from featurestore.compiler.service_plan import ViewUse


def raw_column(index: int) -> str:
    """The column with the raw values of the column at this position of `BoundPolicy.reads`."""
    return f"__fs_p{index}"


def raw_use(use: ViewUse, policy: BoundPolicy) -> ViewUse:
    """The use that joins all raw columns from which the features are made, without values in place of NULL."""
    reads, types = policy.reads(use.columns), dict(policy.columns)
    features = tuple((column, raw_column(index)) for index, column in enumerate(reads))
    return replace(use, features=features, feature_types=tuple(types[column] for column in reads), defaults=())


def under_policy(use: ViewUse, policy: BoundPolicy, joined: Query, defaults: Mapping[str, Any]) -> Query:
    """As `as_of_join`, over the result of the join of `raw_use`. A hidden row is none: times and features are NULL, or their defaults."""
    reads = policy.reads(use.columns)
    types = {name: sql_type for (_, name), sql_type in zip(use.features, use.feature_types, strict=True)}
    scope = {column: quote_name(raw_column(index)) for index, column in enumerate(reads)}
    values = policy.values(use.columns, scope)
    features = {name: f"CASE WHEN {VISIBLE} THEN {values[column]} END" for column, name in use.features}
    for name, value in defaults.items():
        features[name] = f"coalesce({features[name]}, {typed_literal(value, types[name])})"
    selected = [
        *(f"CASE WHEN {VISIBLE} THEN {time} END AS {time}" for time in (FEATURE_TIME, CREATED_TIME)),
        *(f"{sql} AS {quote_name(name)}" for name, sql in features.items()),
    ]
    visible = f"{FEATURE_TIME} IS NOT NULL AND {policy.visible(scope)}"
    rows = f"SELECT *, {visible} AS {VISIBLE} FROM {from_sql(joined)}"
    return text_query(f"SELECT {ROW},\n  {', '.join(selected)}\nFROM ({rows})")


def seen_rows(policy: BoundPolicy, columns: tuple[str, ...], rows: Handle) -> Query:
    """Of rows with the raw columns of `reads(columns)` and ROW: ROW, whether each may be seen, and its masked columns.

    Masked columns are `raw_column` of their positions in `columns`.
    """
    reads, types = policy.reads(columns), dict(policy.columns)
    scope = {column: f"CAST({raw_column(index)} AS {types[column]})" for index, column in enumerate(reads)}
    values = policy.values(columns, scope)
    masked = [f"{values[column]} AS {raw_column(index)}" for index, column in enumerate(columns) if column in policy.masked]
    selected = ", ".join([ROW, f"{policy.visible(scope)} AS {VISIBLE}", *masked])
    return text_query(f"SELECT {selected} FROM {from_sql(rows)}")


def visible_keys(
    log: Handle, keys: Sequence[str], names: Sequence[str], policy: BoundPolicy, end: int, *, deleted: str | None, until: int | None
) -> Query:
    """The distinct keys of a view's log, under `names`, of which a row at or before `end` may be seen: the latest version of that row.

    `deleted` is the log's column that is true in tombstones, if it has one. Tombstones created after `until` do not count (None: all do).
    Times are microseconds.
    """
    partition = ", ".join([*map(quote_name, keys), "feature_timestamp"])
    known = "true" if deleted is None or until is None else f"NOT ({deleted} IS TRUE AND epoch_us(created_timestamp) > {until})"
    latest = (
        f"SELECT * FROM {from_sql(log)} WHERE {known} AND epoch_us(feature_timestamp) <= {end}"
        f" QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY created_timestamp DESC NULLS LAST) = 1"
    )
    living = "true" if deleted is None else f"{deleted} IS NOT TRUE"
    given = " AND ".join(f"{quote_name(key)} IS NOT NULL" for key in keys)
    selected = ", ".join(f"{quote_name(key)} AS {quote_name(name)}" for key, name in zip(keys, names, strict=True))
    return text_query(f"SELECT DISTINCT {selected} FROM ({latest}) WHERE {living} AND {given} AND {policy.visible(policy.quoted())}")
