"""Queries of the statistics of one column."""

from typing import Literal, TypeAlias

from sqlglot import exp

from featurestore.compiler.query import Query, Source, cast, column, expression_template, number, template

Scalar: TypeAlias = Literal["time", "integer", "number"]
"""How a column is measured: as microseconds, as integers, or as doubles."""

_MICROSECONDS = expression_template("epoch_us(CAST($column AS TIMESTAMPTZ))")
_DOUBLE = expression_template("CAST($column AS DOUBLE) + 0.0")
_VALUES = template("SELECT $value AS x FROM $rows")
_COUNTS = template("SELECT count($column) AS count, count(*) - count($column) AS nulls FROM $rows")
_GROUPS = template("SELECT $column AS x, count(*) AS n FROM $rows WHERE $column IS NOT NULL GROUP BY $column")
_TOP = template("SELECT $shown AS x, n FROM $groups AS g ORDER BY n DESC, g.x LIMIT $size")
_BEGIN_OF_TEXT = expression_template("left(x, $characters)")
_FINITE = expression_template("isfinite(x)")
_KNOWN = expression_template("x IS NOT NULL")
_EXTENT = template(
    "SELECT count(x) AS count, count(*) - count(x) AS nulls, count(*) FILTER (WHERE $finite) AS finite,"
    " min(x) FILTER (WHERE $finite) AS least, max(x) FILTER (WHERE $finite) AS greatest, approx_count_distinct(x) AS about, $odd"
    " FROM $values"
)
_ODD = (
    expression_template("count(*) FILTER (WHERE isnan(x)) AS nan"),
    expression_template("count(*) FILTER (WHERE isinf(x)) AS infinite"),
)
_COUNTED = template("SELECT x, count(*) AS n FROM $values WHERE $finite GROUP BY x ORDER BY x")
_ORDERED = template("SELECT x FROM $values WHERE $finite ORDER BY x")
_LATEST = template(
    'SELECT * EXCLUDE ("at") FROM $rows WHERE training_set = $id'
    ' QUALIFY row_number() OVER (PARTITION BY "column" ORDER BY "at" DESC) = 1 ORDER BY position'
)


def scalar(name: str, kind: Scalar) -> exp.Expr:
    """A column of numbers or times as BIGINT or DOUBLE. Adding 0.0 turns -0.0 into 0.0."""
    if kind == "time":
        return _MICROSECONDS(column=column(name))
    return cast(column(name), "BIGINT") if kind == "integer" else _DOUBLE(column=column(name))


def column_values(rows: Source, name: str, kind: Scalar | None = None) -> Query:
    """The values of a column as `x`, as they are or as `scalar`."""
    return _VALUES(rows=rows, value=column(name) if kind is None else scalar(name, kind))


def value_counts(rows: Source, name: str) -> Query:
    """One row with the number of values of a column as `count`, and of NULLs as `nulls`."""
    return _COUNTS(rows=rows, column=column(name))


def distinct_values(rows: Source, name: str) -> Query:
    """Each distinct value of a column as `x` with its number of rows as `n`."""
    return _GROUPS(rows=rows, column=column(name))


def most_frequent(groups: Query, size: int, characters: int | None) -> Query:
    """The first of `distinct_values` by frequency and value; of a text at most this many characters."""
    shown = column("x") if characters is None else _BEGIN_OF_TEXT(characters=number(characters))
    return _TOP(groups=groups, shown=shown, size=number(size))


def extent(values: Query, kind: Scalar) -> Query:
    """One row about the values `x`: `count`, `nulls`, `finite`, `least` and `greatest` of the finite ones, `about` how many are distinct.

    For doubles also the number of NaN (`nan`) and infinite values (`infinite`).
    """
    odd = [count() for count in _ODD] if kind == "number" else []
    return _EXTENT(values=values, finite=_finite(kind), odd=odd)


def finite_value_counts(values: Query, kind: Scalar) -> Query:
    """Each distinct finite value `x` in ascending order, with its number of rows as `n`."""
    return _COUNTED(values=values, finite=_finite(kind))


def finite_values(values: Query, kind: Scalar) -> Query:
    """The finite values `x` in ascending order."""
    return _ORDERED(values=values, finite=_finite(kind))


def latest_statistics(rows: Source, training_set: str) -> Query:
    """The stored statistics of a training set, the latest row of each column, in column order."""
    return _LATEST(rows=rows, id=exp.Literal.string(training_set))


def _finite(kind: Scalar) -> exp.Expr:
    return _FINITE() if kind == "number" else _KNOWN()
