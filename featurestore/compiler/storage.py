"""The column types of feature tables, and the conversion of other types to them."""

from featurestore.compiler import nanoseconds
from featurestore.compiler.expressions import SqlProblem
from featurestore.values.value_types import TYPES


def base_type(sql_type: str) -> str:
    """The element type of nested lists; other types unchanged."""
    return sql_type.rstrip("[]")


def storage_type(sql_type: str) -> str:
    """The feature table's type for a column of this DuckDB type. Raises: SqlProblem if there is none."""
    if sql_type.startswith("DECIMAL("):
        return sql_type
    if sql_type in TYPES and (stored := TYPES[sql_type].stored) is not None:
        return stored
    if sql_type in nanoseconds.TYPES:
        raise SqlProblem(f"has type {sql_type}, but a feature table stores microseconds; CAST it to TIMESTAMP")
    if sql_type.startswith("ENUM("):
        return "VARCHAR"
    if sql_type.endswith("[]"):
        return storage_type(sql_type[:-2]) + "[]"
    raise SqlProblem(
        f"has type {sql_type}, which a feature table cannot store; CAST it to a number, a string, a date, a timestamp or a list of those"
    )
