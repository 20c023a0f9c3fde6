"""The types that user SQL may name, each with its canonical text."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from sqlglot import exp

PLAIN: Mapping[exp.DType, str] = MappingProxyType(
    {
        exp.DType.BOOLEAN: "BOOLEAN",
        exp.DType.TINYINT: "TINYINT",
        exp.DType.SMALLINT: "SMALLINT",
        exp.DType.INT: "INT",
        exp.DType.BIGINT: "BIGINT",
        exp.DType.INT128: "INT128",
        exp.DType.UTINYINT: "UTINYINT",
        exp.DType.USMALLINT: "USMALLINT",
        exp.DType.UINT: "UINTEGER",
        exp.DType.UBIGINT: "UBIGINT",
        exp.DType.UINT128: "UINT128",
        exp.DType.FLOAT: "REAL",
        exp.DType.DOUBLE: "DOUBLE",
        exp.DType.TEXT: "TEXT",
        exp.DType.VARCHAR: "TEXT",
        exp.DType.VARBINARY: "BLOB",
        exp.DType.BIT: "BIT",
        exp.DType.UUID: "UUID",
        exp.DType.DATE: "DATE",
        exp.DType.TIME: "TIME",
        exp.DType.TIMETZ: "TIMETZ",
        exp.DType.TIMESTAMP: "TIMESTAMP",
        exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
        exp.DType.TIMESTAMPTZ: "TIMESTAMPTZ",
        exp.DType.TIMESTAMP_S: "TIMESTAMP_S",
        exp.DType.TIMESTAMP_MS: "TIMESTAMP_MS",
        exp.DType.TIMESTAMP_NS: "TIMESTAMP_NS",
        exp.DType.INTERVAL: "INTERVAL",
    }
)
MAX_ARRAY_VALUES = 10_000
"""Limit of values in a fixed-size array, including nested arrays: DuckDB allocates all of them at once."""
_ARGUMENTS = frozenset({"this", "expressions", "nested", "values"})


def type_text(node: exp.Expr) -> str | None:
    """The SQL of a type, or of a list, struct or map of types; None if it is not allowed or has too many values."""
    text = _type_text(node)
    return None if text is None or _values(node) > MAX_ARRAY_VALUES else text


def _type_text(node: exp.Expr) -> str | None:
    if not isinstance(node, exp.DataType) or {name for name, value in node.args.items() if value} - _ARGUMENTS:
        return None
    inside = node.expressions
    values = node.args.get("values") or []
    if node.this == exp.DType.ARRAY and len(inside) == 1 and len(values) <= 1:
        element, size = _type_text(inside[0]), [_whole(value) for value in values]
        return None if element is None or None in size else f"{element}[{size[0] if size else ''}]"
    if values:
        return None
    if node.this == exp.DType.DECIMAL:
        return _decimal(inside)
    if node.this == exp.DType.STRUCT:
        return _struct(inside)
    if node.this == exp.DType.MAP and len(inside) == 2:
        of = [_type_text(part) for part in inside]
        return None if None in of else f"MAP({of[0]}, {of[1]})"
    return None if inside else PLAIN.get(node.this)


def _decimal(inside: list[exp.Expr]) -> str | None:
    numbers = [_whole(part.this) if isinstance(part, exp.DataTypeParam) and not part.args.get("expression") else None for part in inside]
    if not numbers:
        return "DECIMAL"
    if len(numbers) > 2 or any(number is None for number in numbers):
        return None
    precision, scale = numbers[0] or 0, (numbers[1] or 0) if len(numbers) == 2 else 0
    return f"DECIMAL({', '.join(str(number) for number in numbers)})" if 1 <= precision <= 38 and scale <= precision else None


def _struct(inside: list[exp.Expr]) -> str | None:
    fields: list[str] = []
    for part in inside:
        if (
            not isinstance(part, exp.ColumnDef)
            or not isinstance(part.this, exp.Identifier)
            or {k for k, v in part.args.items() if v} - {"this", "kind"}
        ):
            return None
        field_type = _type_text(part.args["kind"]) if part.args.get("kind") else None
        if field_type is None or not part.this.name:
            return None
        fields.append(f"{part.this.sql(dialect='duckdb', identify=True)} {field_type}")
    return f"STRUCT({', '.join(fields)})" if fields else None


def _values(node: exp.Expr) -> int:
    """The number of values in the fixed-size arrays of a type."""
    sizes = [_whole(value) or 1 for value in node.args.get("values") or ()]
    inside = sum(_values(part) for part in node.expressions if isinstance(part, exp.DataType))
    fields = sum(_values(part.args["kind"]) for part in node.expressions if isinstance(part, exp.ColumnDef))
    return math.prod(sizes) * max(inside + fields, 1)


def _whole(number: exp.Expr) -> int | None:
    text = number.this if isinstance(number, exp.Literal) and not number.is_string else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
