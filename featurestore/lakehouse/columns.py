"""A column is its field id, not its name: what is dropped and added again under one name is another column."""

from collections.abc import Collection, Mapping

from pyiceberg import types as ice
from pyiceberg.table import Table

from featurestore.lakehouse import tables


def identities(table: Table, schema_id: int, names: Collection[str]) -> dict[str, str]:
    """The field id and type, with those of nested fields, of each of these columns that the schema has.

    Equal texts say that a name means the same column, of the same type. Raises: NotFound for a schema that is not there.
    """
    schema = tables.schema_by_id(table, schema_id)
    return {field.name: _identity(field) for field in schema.fields if field.name in names}


def were_always(table: Table, current: Mapping[str, str]) -> bool:
    """Whether these identities hold in every schema that the table ever had."""
    return all(identities(table, schema_id, current) == dict(current) for schema_id in table.schemas())


def name_now(table: Table, schema_id: int, identity: str) -> str | None:
    """What a column of this identity is called in a schema, whatever its type is; None where it was dropped."""
    field_id = identity.partition(" ")[0]
    return next((field.name for field in tables.schema_by_id(table, schema_id).fields if str(field.field_id) == field_id), None)


def _identity(field: ice.NestedField) -> str:
    default = "" if field.initial_default is None else f" default {field.initial_default!r}"
    return f"{field.field_id} {_type(field.field_type)}{default}"


def _type(kind: ice.IcebergType) -> str:
    """The type's text, in which every nested field stands with its id."""
    if isinstance(kind, ice.StructType):
        return f"struct<{', '.join(f'{field.name}: {_identity(field)}' for field in kind.fields)}>"
    if isinstance(kind, ice.ListType):
        return f"list<{kind.element_id} {_type(kind.element_type)}>"
    if isinstance(kind, ice.MapType):
        return f"map<{kind.key_id} {_type(kind.key_type)}, {kind.value_id} {_type(kind.value_type)}>"
    return str(kind)
