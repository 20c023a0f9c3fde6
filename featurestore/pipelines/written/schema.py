"""The schema of a written table, in any of the forms in which callers give it, as columns with DuckDB types."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.storage import storage_type
from featurestore.dsl.value_types import column_type
from featurestore.errors import RequestError, TypeMismatch, brief
from featurestore.lakehouse import column_types
from featurestore.values import frames

FORMS = "an Arrow schema, a dict such as {'customer_id': 'long'}, or a frame with the columns"


def columns_of_schema(schema: Any) -> dict[str, str]:
    """The columns of a schema: a frame, an Arrow schema, or a dict of column and type name. Raises: RequestError, TypeMismatch."""
    if isinstance(schema, Mapping):
        return {_name(name): _type_of_name(type_name, f"schema.{name}") for name, type_name in schema.items()}
    if not isinstance(schema, pa.Schema):
        rows = None if schema is None else frames.to_arrow_table(schema, "the schema")
        if rows is None:
            raise RequestError(f"schema={brief(schema)} is not a schema; give {FORMS}", field="schema")
        schema = rows.schema
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise RequestError(f"the schema has more than one column called {', '.join(map(repr, repeated))}", field="schema")
    return {_name(field.name): _type_of_arrow(field) for field in schema}


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise RequestError(f"the schema has a column called {brief(name)}; names must be text", field="schema")
    return name


def _type_of_arrow(field: pa.Field) -> str:
    if pa.types.is_null(field.type):
        raise TypeMismatch(
            f"the column {field.name!r} of the schema has no value, so its type is not known; give the schema as {{column: type}}",
            field=f"schema.{field.name}",
        )
    try:
        return storage_type(column_types.stored_sql_type(field.type, field.name))
    except SqlProblem as error:
        raise TypeMismatch(f"the column {field.name!r} of the schema {error}", field=f"schema.{field.name}") from error


def _type_of_name(name: Any, field: str) -> str:
    try:
        return column_type(name)
    except ValueError as error:
        raise TypeMismatch(f"{field}: {error}", field=field) from error
