"""The column types of feature tables, and the conversion of other types to them."""

from collections.abc import Sequence

from featurestore.compiler import nanoseconds
from featurestore.compiler.expressions import SqlProblem, quoted
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


def cast_sql(columns: dict[str, str], relation: str) -> str:
    """A SELECT of `columns` (name -> type) of a relation, each cast to its type."""
    casts = (f"CAST({quoted(name)} AS {sql_type}) AS {quoted(name)}" for name, sql_type in columns.items())
    return f"SELECT {', '.join(casts)} FROM {relation}"


def file_order(keys: Sequence[str], *more: str) -> str:
    """The ORDER BY of a feature table's files: by day, then keys, feature_timestamp and the columns `more`.

    A row group then has the rows of a few days, and the rows of a key are ordered by time.
    """
    return ", ".join(["CAST(feature_timestamp AS DATE)", *map(quoted, [*keys, "feature_timestamp", *more])])
