"""The DuckDB type in which a table stores a column of an Arrow type."""

from itertools import count

import pyarrow as pa

from featurestore.errors import TypeMismatch
from featurestore.lakehouse import type_mapping


def stored_sql_type(arrow_type: pa.DataType, column: str) -> str:
    """The DuckDB name of the narrowest Iceberg type that holds every value. Raises: TypeMismatch naming the column."""
    sql_type = type_mapping.sql_type_of_iceberg(type_mapping.iceberg_type(arrow_type, count(1), column))
    if sql_type is None:
        raise TypeMismatch(f"the column {column!r} has the type {arrow_type}, which no feature has; cast it", column=column)
    return sql_type


def sql_types_of_columns(schema: pa.Schema) -> dict[str, str]:
    """The DuckDB type of each column of a table's Arrow schema. Raises: as `stored_sql_type`."""
    return {field.name: stored_sql_type(field.type, field.name) for field in schema}
