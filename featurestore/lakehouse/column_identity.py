"""Columns are identified by field id, not by name: a column that was dropped and added again is another column."""

from collections.abc import Collection, Mapping

from pyiceberg import types as ice

from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table


def column_identities(table: Table, schema_id: int, names: Collection[str]) -> dict[str, str]:
    """The field id and type, including nested fields, of those of these columns that the schema has, by name.

    Equal texts mean the same column of the same type. Raises: NotFound for an unknown schema.
    """
    schema = tables.schema_by_id(table, schema_id)
    return {field.name: _identity(field) for field in schema.fields if field.name in names}


def hold_in_every_schema(table: Table, current: Mapping[str, str]) -> bool:
    """Whether these columns have the same identity in every schema of the table."""
    return all(column_identities(table, schema_id, current) == dict(current) for schema_id in table.iceberg.schemas())


def name_in_schema(table: Table, schema_id: int, identity: str) -> str | None:
    """The name of the column with this identity's field id in a schema, whatever its type; None if it was dropped."""
    field_id = identity.partition(" ")[0]
    return next((field.name for field in tables.schema_by_id(table, schema_id).fields if str(field.field_id) == field_id), None)


def _identity(field: ice.NestedField) -> str:
    default = "" if field.initial_default is None else f" default {field.initial_default!r}"
    return f"{field.field_id} {_type_text(field.field_type)}{default}"


def _type_text(iceberg_type: ice.IcebergType) -> str:
    """The type as text, with the id of every nested field."""
    if isinstance(iceberg_type, ice.StructType):
        return f"struct<{', '.join(f'{field.name}: {_identity(field)}' for field in iceberg_type.fields)}>"
    if isinstance(iceberg_type, ice.ListType):
        return f"list<{iceberg_type.element_id} {_type_text(iceberg_type.element_type)}>"
    if isinstance(iceberg_type, ice.MapType):
        return (
            f"map<{iceberg_type.key_id} {_type_text(iceberg_type.key_type)}, {iceberg_type.value_id} {_type_text(iceberg_type.value_type)}>"
        )
    return str(iceberg_type)
