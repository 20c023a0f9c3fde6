"""The columns of a table as Delta Lake has them: its types in JSON, and the Arrow types in which their values are written."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice

from featurestore.errors import TypeMismatch
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.type_mapping import arrow_of_iceberg

_NAMES: dict[type[ice.IcebergType], str] = {
    ice.BooleanType: "boolean",
    ice.IntegerType: "integer",
    ice.LongType: "long",
    ice.FloatType: "float",
    ice.DoubleType: "double",
    ice.StringType: "string",
    ice.BinaryType: "binary",
    ice.FixedType: "binary",
    ice.DateType: "date",
    ice.TimestampType: "timestamp",
    ice.TimestamptzType: "timestamp",
}
_AS_TEXT = (ice.UUIDType, ice.TimeType)
"""Types that Delta Lake does not have, whose values are written as text."""
_INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class DeltaColumn:
    """A column as it is shared: its type in Delta Lake's JSON, and the Arrow type of its values in files."""

    name: str
    delta_type: Any
    arrow_type: pa.DataType

    def to_json(self) -> dict[str, Any]:
        """The field in the schema of a Delta table."""
        return {"name": self.name, "type": self.delta_type, "nullable": True, "metadata": {}}


def delta_columns(table: Table, schema_id: int) -> list[DeltaColumn]:
    """The columns of one of the table's schemas. Raises: TypeMismatch naming a column that Delta Lake has no type for, or that two columns
    have names that differ only in case."""
    fields = tables.schema_by_id(table, schema_id).fields
    seen: dict[str, str] = {}
    for field in fields:
        other = seen.setdefault(field.name.lower(), field.name)
        if other != field.name:
            raise TypeMismatch(
                f"the columns {other!r} and {field.name!r} of {table.name} differ only in case, and recipients could not tell them apart;"
                " rename one, or share a view without it",
                column=field.name,
            )
    return [_column(field, table.name) for field in fields]


def to_shared(batch: pa.RecordBatch, columns: list[DeltaColumn]) -> pa.RecordBatch:
    """A batch of a table's rows with the values as they are shared."""
    arrays = [_convert(batch.column(column.name), column.arrow_type) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(columns))


def arrow_schema(columns: list[DeltaColumn]) -> pa.Schema:
    """The columns of a shared file."""
    return pa.schema([pa.field(column.name, column.arrow_type) for column in columns])


def _column(field: ice.NestedField, table: str) -> DeltaColumn:
    if isinstance(field.field_type, _AS_TEXT):
        return DeltaColumn(field.name, "string", pa.string())
    return DeltaColumn(field.name, _delta_type(field.field_type, field.name, table), _shared_type(arrow_of_iceberg(field.field_type)))


def _delta_type(of: ice.IcebergType, column: str, table: str) -> Any:
    if isinstance(of, ice.DecimalType):
        return f"decimal({of.precision},{of.scale})"
    if isinstance(of, ice.ListType):
        return {"type": "array", "elementType": _delta_type(of.element_type, column, table), "containsNull": True}
    if isinstance(of, ice.MapType):
        key, value = (_delta_type(part, column, table) for part in (of.key_type, of.value_type))
        return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
    if isinstance(of, ice.StructType):
        return {
            "type": "struct",
            "fields": [
                {"name": field.name, "type": _delta_type(field.field_type, column, table), "nullable": True, "metadata": {}}
                for field in of.fields
            ],
        }
    if type(of) not in _NAMES:
        raise TypeMismatch(
            f"the column {column!r} of {table} has the Iceberg type {of}, which Delta Lake does not have; share a view or a table"
            " without it, or with another type",
            column=column,
            type=str(of),
        )
    return _NAMES[type(of)]


def _shared_type(of: pa.DataType) -> pa.DataType:
    """The Arrow type in files: times without a zone are in UTC, as everywhere in the store; Delta Lake has no fixed binary."""
    if pa.types.is_timestamp(of):
        return _INSTANT
    if pa.types.is_fixed_size_binary(of):
        return pa.binary()
    if pa.types.is_list(of):
        return pa.list_(_shared_type(of.value_type))
    if pa.types.is_map(of):
        return pa.map_(_shared_type(of.key_type), _shared_type(of.item_type))
    if pa.types.is_struct(of):
        return pa.struct([pa.field(field.name, _shared_type(field.type)) for field in of])
    return of


def _convert(values: pa.Array, to: pa.DataType) -> pa.Array:
    if values.type == to:
        return values
    if isinstance(values.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], to)
    return pc.cast(values, to)
