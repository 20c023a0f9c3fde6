"""SELECTs that databases run, of the tables of sources. Names are quoted, and values are literals of their types."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from featurestore.compiler.query import Query, render

POSTGRES = "postgres"
DIMENSIONS = "malformed array literal"
"""What PostgreSQL says of a column of arrays in which one has several dimensions: see `_array`."""
_NATIVE = {"bool", "int2", "int4", "int8", "float4", "float8", "date", "timestamp", "timestamptz", "time", "text", "varchar", "bytea"}
"""Types of PostgreSQL whose values are read as they are; those of others are read as text, which has all of a value."""
_NATIVE_ELEMENTS = {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar"}
POSTGRES_SESSION = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO, YMD'",
    "SET LOCAL intervalstyle = 'iso_8601'",
    "SET LOCAL extra_float_digits = 1",
)
"""What a transaction begins with, so that all of it sees one state, and texts of values do not depend on the server's settings."""
POSTGRES_TIMEOUT = "SELECT set_config('statement_timeout', $1, true)"
POSTGRES_NOW = "SELECT now() AS moment"
POSTGRES_COLUMNS = """
SELECT a.attname::text AS name, b.typname::text AS type_name, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
"""The columns of a table, whose quoted name is the parameter; those of a domain have its base type. No rows: there is no such table."""
_TEXT = exp.DataType.build("text")


@dataclass(frozen=True)
class DatabaseColumn:
    """A column in PostgreSQL: the internal name of its type, such as `int4` and `_text`, and the zone of its times without one."""

    name: str
    type_name: str
    zone: str | None = None


def postgres_rows(
    table: Sequence[str], columns: Iterable[DatabaseColumn], watermark: DatabaseColumn, since: str | None, until: str | None
) -> str:
    """The text of a SELECT of all columns of a table, given as its name or as its schema and name, ordered by the watermark.

    `since` and `until` are bounds of the watermark as texts of its type, both inclusive; None: no bound. Rows whose watermark is NULL are
    left out.
    """
    column = _value(watermark)
    conditions: list[exp.Expr] = [exp.Not(this=exp.Is(this=_name(watermark.name), expression=exp.Null()))]
    bound_type = "timestamptz" if watermark.zone else watermark.type_name
    for comparison, bound in ((exp.GTE, since), (exp.LTE, until)):
        if bound is not None:
            literal = exp.Cast(this=exp.Literal.string(bound), to=exp.DataType.build(bound_type, dialect=POSTGRES))
            conditions.append(comparison(this=column.copy(), expression=literal))
    select = exp.Select(
        expressions=[exp.Alias(this=_value(item), alias=exp.to_identifier(item.name, quoted=True)) for item in columns],
        from_=exp.From(this=exp.Table(this=_identifier(table[-1]), db=_identifier(table[0]) if len(table) > 1 else None)),
        where=exp.Where(this=exp.and_(*conditions, copy=False)),
        order=exp.Order(expressions=[exp.Ordered(this=column.copy())]),
    )
    return render(Query(select), POSTGRES)


def _value(column: DatabaseColumn) -> exp.Expr:
    name = _name(column.name)
    if column.type_name == "timestamp" and column.zone is not None:
        return exp.AtTimeZone(this=name, zone=exp.Literal.string(column.zone))
    if column.type_name.startswith("_"):
        return _array(name, column.type_name[1:])
    return name if column.type_name in _NATIVE else exp.Cast(this=name, to=_TEXT.copy())


def _array(name: exp.Column, element: str) -> exp.Expr:
    """A column of arrays. Those of several dimensions would be read as one list: instead the query fails on them."""
    native = element in _NATIVE_ELEMENTS
    array_type = exp.DataType.build(f"{element}[]" if native else "text[]", dialect=POSTGRES)
    value = name if native else exp.Cast(this=name, to=array_type)
    dimensions, bounds = (exp.Anonymous(this=function, expressions=[name.copy()]) for function in ("array_ndims", "array_dims"))
    refused = exp.Cast(this=exp.Anonymous(this="concat", expressions=[exp.Literal.string("{"), bounds]), to=array_type.copy())
    return exp.Case(ifs=[exp.If(this=exp.GT(this=dimensions, expression=exp.Literal.number(1)), true=refused)], default=value)


def _name(name: str) -> exp.Column:
    return exp.Column(this=_identifier(name))


def _identifier(name: str) -> exp.Identifier:
    return exp.Identifier(this=name, quoted=True)
