"""Queries of the versions of rows that a later version superseded by a point in time."""

from collections.abc import Sequence

from sqlglot import exp

from featurestore.compiler.query import Query, Source, columns, expression_template, number, template

_NEWEST_KNOWN = expression_template(
    "max(created_timestamp) FILTER (WHERE created_timestamp <= make_timestamptz($horizon)) OVER (PARTITION BY $keys, feature_timestamp)"
)
_SUPERSEDED = expression_template("coalesce(created_timestamp < $newest, $newest IS NOT NULL)")
_WHERE_SUPERSEDED = template("SELECT 1 FROM $rows QUALIFY $condition")
_WHERE_NOT_SUPERSEDED = template("SELECT * FROM $rows QUALIFY NOT $condition")


def superseded_rows(rows: Source, keys: Sequence[str], horizon: int) -> Query:
    """One row for each row of a log of which a later version was created by `horizon` (microseconds).

    A NULL created time counts as the oldest.
    """
    return _WHERE_SUPERSEDED(rows=rows, condition=_superseded_condition(keys, horizon))


def without_superseded(rows: Source, keys: Sequence[str], horizon: int) -> Query:
    """The rows of a log that are not `superseded_rows`."""
    return _WHERE_NOT_SUPERSEDED(rows=rows, condition=_superseded_condition(keys, horizon))


def _superseded_condition(keys: Sequence[str], horizon: int) -> exp.Expr:
    return _SUPERSEDED(newest=_NEWEST_KNOWN(keys=columns(keys), horizon=number(horizon)))
