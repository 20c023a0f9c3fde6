"""Convert the exact numbers of a spine that was sent as JSON to the types of their columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import TypeMismatch
from featurestore.values.coercion import beyond_64_bits, coerce, quote_value
from featurestore.values.json_encoding import NAMES
from featurestore.values.json_numbers import NotANumber, WrittenNumber
from featurestore.values.value_types import FLOATING, ZONED


def coerce_numbers(rows: Sequence[Any], plan: ServicePlan, timestamp: str) -> list[Any]:
    """Convert numbers to the types of key columns and request fields, and to doubles in other columns.

    Raises: TypeMismatch naming the row and column of a NaN outside of floating-point columns, or of a number out of range.
    """
    sql_types = {column: sql_type for use in plan.uses for (_, column), sql_type in zip(use.keys, use.key_types, strict=True)} | dict(
        plan.request
    )
    sql_types[timestamp] = ZONED
    double_columns = {name for name, sql_type in sql_types.items() if sql_type in FLOATING}
    affected = {
        name
        for row in rows
        if isinstance(row, Mapping)
        for name, value in row.items()
        if type(value) is NotANumber
        or type(value) is WrittenNumber
        or (type(value) is int and name in sql_types and beyond_64_bits(value))
        or (name in double_columns and type(value) is str)
    }
    if not affected:
        return list(rows)
    return [
        {
            name: _coerce(value, sql_types.get(name, "DOUBLE"), f"rows[{index}].{name}") if name in affected else value
            for name, value in row.items()
        }
        if isinstance(row, Mapping)
        else row
        for index, row in enumerate(rows)
    ]


def _coerce(value: Any, sql_type: str, what: str) -> Any:
    if type(value) is NotANumber and sql_type not in FLOATING:
        raise TypeMismatch(f"{what}: {value!r} is not {sql_type}; leave a missing value out, or send null", field=what, expected=sql_type)
    if type(value) is str and sql_type in FLOATING:
        return NAMES.get(value, value)
    if sql_type.startswith("DECIMAL(") and isinstance(value, int | float) and not isinstance(value, bool):
        return coerce(value, sql_type, what)
    if type(value) is int and beyond_64_bits(value):
        return coerce(value, sql_type, what)
    if type(value) is not WrittenNumber:
        return value
    if sql_type not in FLOATING:
        return coerce(value, sql_type, what)
    double = float(value)
    if double in (float("inf"), float("-inf")):
        raise TypeMismatch(f"{what}: {quote_value(value)} is out of range of doubles", field=what, expected=sql_type)
    return double


def without_written_numbers(rows: Sequence[Any]) -> list[Any]:
    """Convert exact numbers to doubles, for rows whose columns have no types yet."""
    return [
        {name: float(value) if isinstance(value, NotANumber | WrittenNumber) else value for name, value in row.items()}
        if isinstance(row, Mapping)
        else row
        for row in rows
    ]
