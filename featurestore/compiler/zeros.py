"""Distinguish -0.0 and 0.0, which are equal in SQL, by their signs."""

from featurestore.compiler.storage import base_type
from featurestore.values.value_types import FLOATING


def has_zeros(sql_type: str) -> bool:
    """Whether a DuckDB type is a floating-point type, or a list of one."""
    return base_type(sql_type) in FLOATING


def zero_signs(value: str, sql_type: str) -> str:
    """SQL that is true if a floating-point value is -0.0; for a list, a list of booleans."""
    if sql_type.endswith("[]"):
        return f"list_transform({value}, lambda v: {zero_signs('v', sql_type[:-2])})"
    return f"({value} = 0 AND signbit({value}))"


def differ_sql(left: str, right: str, sql_type: str) -> str:
    """The condition that two values of a DuckDB type differ, also if only in the sign of a zero."""
    distinct = f"{left} IS DISTINCT FROM {right}"
    return f"{distinct} OR {zero_signs(left, sql_type)} IS DISTINCT FROM {zero_signs(right, sql_type)}" if has_zeros(sql_type) else distinct
