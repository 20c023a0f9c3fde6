"""Map types between Arrow, Iceberg and DuckDB."""

from collections.abc import Iterator
from itertools import count

import pyarrow as pa
from pyiceberg import types as ice
from pyiceberg.schema import Schema

from featurestore.errors import RequestError, TypeMismatch
from featurestore.values.arrow_types import ARROW_TYPES
from featurestore.values.value_types import ZONED

FIELD_ID = b"PARQUET:field_id"

_SQL: dict[type[ice.IcebergType], str] = {
    ice.BooleanType: "BOOLEAN",
    ice.IntegerType: "INTEGER",
    ice.LongType: "BIGINT",
    ice.FloatType: "FLOAT",
    ice.DoubleType: "DOUBLE",
    ice.StringType: "VARCHAR",
    ice.BinaryType: "BLOB",
    ice.FixedType: "BLOB",
    ice.UUIDType: "UUID",
    ice.DateType: "DATE",
    ice.TimeType: "TIME",
    ice.TimestampType: "TIMESTAMP",
    ice.TimestamptzType: ZONED,
}
"""The value types of Iceberg's types, by their DuckDB names."""

_NANOSECONDS: dict[type[ice.IcebergType], pa.DataType] = {
    ice.TimestampNanoType: pa.timestamp("ns"),
    ice.TimestamptzNanoType: pa.timestamp("ns", "UTC"),
}


def sql_type_of_iceberg(iceberg_type: ice.IcebergType) -> str | None:
    """The DuckDB type name of an Iceberg type; None for a type that DuckDB cannot read by field id alone (struct, map, nanoseconds)."""
    if isinstance(iceberg_type, ice.DecimalType):
        return f"DECIMAL({iceberg_type.precision},{iceberg_type.scale})"
    if isinstance(iceberg_type, ice.ListType):
        element = sql_type_of_iceberg(iceberg_type.element_type)
        return f"{element}[]" if element else None
    return _SQL.get(type(iceberg_type))


def arrow_of_iceberg(iceberg_type: ice.IcebergType, *, ids: bool = False) -> pa.DataType:
    """The Arrow type of an Iceberg type; with `ids`, nested fields carry their field ids."""
    if isinstance(iceberg_type, ice.DecimalType):
        return pa.decimal128(iceberg_type.precision, iceberg_type.scale)
    if isinstance(iceberg_type, ice.FixedType):
        return pa.binary(len(iceberg_type))
    if isinstance(iceberg_type, ice.ListType):
        return pa.list_(arrow_field(iceberg_type.element_field, ids=ids))
    if isinstance(iceberg_type, ice.MapType):
        return pa.map_(arrow_field(iceberg_type.key_field, ids=ids).with_nullable(False), arrow_field(iceberg_type.value_field, ids=ids))
    if isinstance(iceberg_type, ice.StructType):
        return pa.struct([arrow_field(field, ids=ids) for field in iceberg_type.fields])
    if type(iceberg_type) in _SQL:
        return ARROW_TYPES[_SQL[type(iceberg_type)]]
    if type(iceberg_type) in _NANOSECONDS:
        return _NANOSECONDS[type(iceberg_type)]
    raise TypeMismatch(f"columns of the Iceberg type {iceberg_type} cannot be read")


def arrow_field(field: ice.NestedField, *, ids: bool = False) -> pa.Field:
    """The Arrow field of an Iceberg field, always nullable; with `ids`, Parquet files written with it carry the field id."""
    metadata = {FIELD_ID: str(field.field_id).encode()} if ids else None
    return pa.field(field.name, arrow_of_iceberg(field.field_type, ids=ids), nullable=True, metadata=metadata)


def arrow_schema(schema: Schema, *, ids: bool = False) -> pa.Schema:
    """The Arrow schema of an Iceberg schema, in its column order."""
    return pa.schema([arrow_field(field, ids=ids) for field in schema.fields])


def iceberg_schema(schema: pa.Schema) -> Schema:
    """The Iceberg schema for these Arrow columns, all optional; columns get ids from 1, nested fields the ids after them.

    Raises: TypeMismatch naming a column that Iceberg has no type for; RequestError naming a repeated column.
    """
    for name in schema.names:
        if len(schema.get_all_field_indices(name)) > 1:
            raise RequestError(f"the column {name!r} appears twice", column=name)
    nested = count(len(schema) + 1)
    fields = [
        ice.NestedField(position, field.name, iceberg_type(field.type, nested, field.name), required=False)
        for position, field in enumerate(schema, start=1)
    ]
    return Schema(*fields)


def iceberg_type(arrow_type: pa.DataType, ids: Iterator[int], column: str) -> ice.IcebergType:
    """The narrowest Iceberg type that holds every value of an Arrow type; nested fields take their ids from `ids`.

    Timestamps become microseconds, zoned ones in UTC; a column of Arrow's null type becomes a string.
    """
    if pa.types.is_dictionary(arrow_type):
        return iceberg_type(arrow_type.value_type, ids, column)
    if isinstance(arrow_type, pa.UuidType):
        return ice.UUIDType()
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return ice.ListType(next(ids), iceberg_type(arrow_type.value_type, ids, column), element_required=False)
    if pa.types.is_map(arrow_type):
        key, value = next(ids), next(ids)
        return ice.MapType(
            key,
            iceberg_type(arrow_type.key_type, ids, column),
            value,
            iceberg_type(arrow_type.item_type, ids, column),
            value_required=False,
        )
    if pa.types.is_struct(arrow_type):
        numbered = [(next(ids), field) for field in arrow_type]
        return ice.StructType(
            *(ice.NestedField(i, field.name, iceberg_type(field.type, ids, column), required=False) for i, field in numbered)
        )
    simple = _simple(arrow_type)
    if simple is None:
        raise TypeMismatch(
            f"the column {column!r} has the type {arrow_type}, which Iceberg cannot store; cast it", column=column, type=str(arrow_type)
        )
    return simple


def _simple(arrow_type: pa.DataType) -> ice.IcebergType | None:
    is_ = pa.types
    if is_.is_timestamp(arrow_type):
        return ice.TimestamptzType() if arrow_type.tz else ice.TimestampType()
    if is_.is_decimal(arrow_type):
        return (
            ice.DecimalType(arrow_type.precision, arrow_type.scale)
            if arrow_type.precision <= 38 and 0 <= arrow_type.scale <= arrow_type.precision
            else None
        )
    if is_.is_integer(arrow_type):
        return _integer(arrow_type)
    if is_.is_fixed_size_binary(arrow_type):
        return ice.FixedType(arrow_type.byte_width)
    tests: list[tuple[bool, ice.IcebergType]] = [
        (is_.is_boolean(arrow_type), ice.BooleanType()),
        (is_.is_float16(arrow_type) or is_.is_float32(arrow_type), ice.FloatType()),
        (is_.is_float64(arrow_type), ice.DoubleType()),
        (
            is_.is_string(arrow_type) or is_.is_large_string(arrow_type) or is_.is_string_view(arrow_type) or is_.is_null(arrow_type),
            ice.StringType(),
        ),
        (is_.is_binary(arrow_type) or is_.is_large_binary(arrow_type) or is_.is_binary_view(arrow_type), ice.BinaryType()),
        (is_.is_date(arrow_type), ice.DateType()),
        (is_.is_time(arrow_type), ice.TimeType()),
    ]
    return next((iceberg_type for holds, iceberg_type in tests if holds), None)


def _integer(arrow_type: pa.DataType) -> ice.IcebergType:
    if arrow_type == pa.uint64():
        return ice.DecimalType(20, 0)
    return ice.LongType() if arrow_type in (pa.int64(), pa.uint32()) else ice.IntegerType()
