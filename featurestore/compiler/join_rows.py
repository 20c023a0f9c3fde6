"""Queries around the join of one view: the spine and the log that it reads, the facts about its result, and the features of a service."""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from featurestore.compiler.derived import derived_columns
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, ROW, T, key_column
from featurestore.compiler.query import (
    Query,
    Source,
    cast,
    column,
    columns,
    expression_template,
    number,
    template,
    text_items,
    with_name,
)
from featurestore.compiler.relations import Handle
from featurestore.compiler.service_plan import ServicePlan

_SPINE = template(f"SELECT {ROW}, {T}, $keys FROM $spine")
_SPINE_AT = template(f"SELECT * REPLACE ($time AS {T}) FROM $spine")
_LOG = template("SELECT * FROM $log WHERE feature_timestamp <= make_timestamptz($upper)")
_LOG_SINCE = template(
    "SELECT * FROM $log WHERE feature_timestamp <= make_timestamptz($upper) AND feature_timestamp >= make_timestamptz($lower)"
)
_NOTHING = template("SELECT * FROM $log WHERE false")
_FACTS = template(
    f"SELECT count(*) FILTER (WHERE {FEATURE_TIME} IS NULL) AS missing, count(*) FILTER (WHERE $past) AS past,"
    f" max(epoch_us({FEATURE_TIME}) - epoch_us({T})) AS feature, max(epoch_us({CREATED_TIME}) - epoch_us({T})) AS created"
    f" FROM $spine JOIN $joined USING ({ROW})"
)
_AFTER = expression_template(f"epoch_us({T}) > $through")
_IN_ROW_ORDER = template(f"SELECT $items FROM $rows ORDER BY {ROW}")
_ITEMS = template("SELECT $items FROM $rows")
_KEYS_AT = template("SELECT DISTINCT $keys, make_timestamptz($time) AS __fs_at FROM $log ORDER BY ALL")
_HASHES = template(f"SELECT {ROW}, hash($columns) AS __fs_hash FROM $rows")
_LOOKED_UP = template("SELECT s.*, $features FROM $spine AS s")


def spine_at(spine: Handle, time: str | None) -> Source:
    """The spine with the times of another column as T; None: as it is."""
    return spine if time is None else _SPINE_AT(spine=spine, time=column(time))


def spine_of_view(spine: Source, keys: Sequence[tuple[str, str]]) -> Query:
    """ROW, T and the keys of a spine under the names that the join of a view reads; `keys` has each column and its type in the log."""
    casts = [with_name(cast(column(name), sql_type), key_column(index)) for index, (name, sql_type) in enumerate(keys)]
    return _SPINE(spine=spine, keys=casts)


def log_between(log: Handle, lower: int | None, upper: int | None) -> Query:
    """A log's rows with feature_timestamp in [lower, upper] (microseconds); `lower` None: no bound; `upper` None: no rows."""
    if upper is None:
        return _NOTHING(log=log)
    return _LOG(log=log, upper=number(upper)) if lower is None else _LOG_SINCE(log=log, lower=number(lower), upper=number(upper))


def join_facts(spine: Source, joined: Handle, through: int | None) -> Query:
    """One row of facts about the join of a view: how many spine rows have no match (`missing`) or lie `past` its watermark `through`.

    `feature` and `created` are the greatest distances of a match's times to its spine row's, in microseconds.
    """
    past = exp.true() if through is None else _AFTER(through=number(through))
    return _FACTS(spine=spine, joined=joined, past=past)


def joined_features(spine: Handle, joined: Sequence[Handle], plan: ServicePlan, request: Sequence[str]) -> tuple[Query, Query]:
    """The inputs of all features, one row per spine row, and all features of a service over them, in spine order.

    `joined` has the result of each view's join, and `request` the spine's column of each request field.
    """
    features = [column(name, f"v{index}") for index, use in enumerate(plan.uses) for _, name in use.features]
    looked_up = _LOOKED_UP(spine=spine, features=features)
    for index, rows in enumerate(joined):
        table = exp.Table(this=exp.to_identifier(rows.name, quoted=True), alias=exp.TableAlias(this=exp.to_identifier(f"v{index}")))
        looked_up.tree.append("joins", exp.Join(this=table, using=[exp.to_identifier(ROW)]))
    return looked_up, in_row_order(looked_up, [*columns(plan.looked_up_names), *derived_items(plan, request)])


def derived_items(plan: ServicePlan, request: Sequence[str]) -> list[exp.Expr]:
    """The derived features over looked-up features by name and request fields in these columns. Raises: as `derived_columns`."""
    scope = {name: quote_name(request_column) for (name, _), request_column in zip(plan.request, request, strict=True)}
    return text_items(derived_columns(plan, {**scope, **{name: quote_name(name) for name in plan.looked_up_names}}))


def typed_derived_items(plan: ServicePlan, inputs: Mapping[str, tuple[str, str]]) -> list[exp.Expr]:
    """The derived features over `inputs`: by name, the column and the type that it is cast to. Raises: as `derived_columns`."""
    return text_items(
        derived_columns(plan, {name: f"CAST({quote_name(source)} AS {sql_type})" for name, (source, sql_type) in inputs.items()})
    )


def items_of(rows: Source, items: Sequence[exp.Expr]) -> Query:
    """These expressions over all rows."""
    return _ITEMS(rows=rows, items=[item.copy() for item in items])


def in_row_order(rows: Source, items: Sequence[exp.Expr]) -> Query:
    """These expressions over all rows, in spine order."""
    return _IN_ROW_ORDER(rows=rows, items=[item.copy() for item in items])


def keys_at(log: Handle, keys: Sequence[tuple[str, str]], time: int) -> Query:
    """The distinct keys of a log, each (column, output name), with a time in microseconds as `__fs_at`."""
    return _KEYS_AT(log=log, keys=[with_name(column(key), name) for key, name in keys], time=number(time))


def row_hashes(rows: Source, names: Sequence[str]) -> Query:
    """ROW and a 64-bit hash of these columns as `__fs_hash`: the same in each query of a session, and not stored anywhere."""
    return _HASHES(rows=rows, columns=columns(names))
