"""One table of types: what Arrow brings, what Iceberg stores, and what DuckDB calls it."""

from collections.abc import Iterator
from itertools import count

import pyarrow as pa
from pyiceberg import types as ice
from pyiceberg.schema import Schema

from featurestore.errors import RequestError, TypeMismatch

FIELD_ID = b"PARQUET:field_id"

_ARROW: dict[type[ice.IcebergType], pa.DataType] = {
    ice.BooleanType: pa.bool_(),
    ice.IntegerType: pa.int32(),
    ice.LongType: pa.int64(),
    ice.FloatType: pa.float32(),
    ice.DoubleType: pa.float64(),
    ice.StringType: pa.string(),
    ice.BinaryType: pa.binary(),
    ice.UUIDType: pa.uuid(),
    ice.DateType: pa.date32(),
    ice.TimeType: pa.time64("us"),
    ice.TimestampType: pa.timestamp("us"),
    ice.TimestamptzType: pa.timestamp("us", "UTC"),
    ice.TimestampNanoType: pa.timestamp("ns"),
    ice.TimestamptzNanoType: pa.timestamp("ns", "UTC"),
}
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
    ice.TimestamptzType: "TIMESTAMP WITH TIME ZONE",
}


def sql_type(kind: ice.IcebergType) -> str | None:
    """The DuckDB type text of an Iceberg type; None for a type that DuckDB cannot read by field id alone (struct, map, nanoseconds)."""
    if isinstance(kind, ice.DecimalType):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if isinstance(kind, ice.ListType):
        element = sql_type(kind.element_type)
        return f"{element}[]" if element else None
    return _SQL.get(type(kind))


def arrow_type(kind: ice.IcebergType, *, ids: bool = False) -> pa.DataType:
    """The Arrow type of an Iceberg type; with `ids`, nested fields carry theirs."""
    if isinstance(kind, ice.DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, ice.FixedType):
        return pa.binary(len(kind))
    if isinstance(kind, ice.ListType):
        return pa.list_(arrow_field(kind.element_field, ids=ids))
    if isinstance(kind, ice.MapType):
        return pa.map_(arrow_field(kind.key_field, ids=ids).with_nullable(False), arrow_field(kind.value_field, ids=ids))
    if isinstance(kind, ice.StructType):
        return pa.struct([arrow_field(field, ids=ids) for field in kind.fields])
    if type(kind) in _ARROW:
        return _ARROW[type(kind)]
    raise TypeMismatch(f"columns of the Iceberg type {kind} cannot be read")


def arrow_field(field: ice.NestedField, *, ids: bool = False) -> pa.Field:
    """The Arrow field of an Iceberg field, always nullable; with `ids`, Parquet files written with it carry the field id."""
    metadata = {FIELD_ID: str(field.field_id).encode()} if ids else None
    return pa.field(field.name, arrow_type(field.field_type, ids=ids), nullable=True, metadata=metadata)


def arrow_schema(schema: Schema, *, ids: bool = False) -> pa.Schema:
    """The Arrow schema of an Iceberg schema, in its column order."""
    return pa.schema([arrow_field(field, ids=ids) for field in schema.fields])


def iceberg_schema(schema: pa.Schema) -> Schema:
    """The Iceberg schema that holds these Arrow columns, all optional, ids from 1, nested ids after the columns' own.

    Raises: TypeMismatch naming a column that Iceberg has no type for; RequestError naming a column that is there twice.
    """
    for name in schema.names:
        if len(schema.get_all_field_indices(name)) > 1:
            raise RequestError(f"the column {name!r} is there twice", column=name)
    nested = count(len(schema) + 1)
    fields = [
        ice.NestedField(position, field.name, iceberg_type(field.type, nested, field.name), required=False)
        for position, field in enumerate(schema, start=1)
    ]
    return Schema(*fields)


def iceberg_type(kind: pa.DataType, ids: Iterator[int], column: str) -> ice.IcebergType:
    """The narrowest Iceberg type that holds every value of an Arrow type; nested fields take their ids from `ids`.

    Timestamps become microseconds, with a zone UTC; a column that is nothing but NULL becomes a string.
    """
    if pa.types.is_dictionary(kind):
        return iceberg_type(kind.value_type, ids, column)
    if isinstance(kind, pa.UuidType):
        return ice.UUIDType()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return ice.ListType(next(ids), iceberg_type(kind.value_type, ids, column), element_required=False)
    if pa.types.is_map(kind):
        key, value = next(ids), next(ids)
        return ice.MapType(
            key, iceberg_type(kind.key_type, ids, column), value, iceberg_type(kind.item_type, ids, column), value_required=False
        )
    if pa.types.is_struct(kind):
        numbered = [(next(ids), field) for field in kind]
        return ice.StructType(
            *(ice.NestedField(i, field.name, iceberg_type(field.type, ids, column), required=False) for i, field in numbered)
        )
    simple = _simple(kind)
    if simple is None:
        raise TypeMismatch(f"the column {column!r} has the type {kind}, which Iceberg cannot store; cast it", column=column, type=str(kind))
    return simple


def _simple(kind: pa.DataType) -> ice.IcebergType | None:
    is_ = pa.types
    if is_.is_timestamp(kind):
        return ice.TimestamptzType() if kind.tz else ice.TimestampType()
    if is_.is_decimal(kind):
        return ice.DecimalType(kind.precision, kind.scale) if kind.precision <= 38 and 0 <= kind.scale <= kind.precision else None
    if is_.is_integer(kind):
        return _integer(kind)
    if is_.is_fixed_size_binary(kind):
        return ice.FixedType(kind.byte_width)
    tests: list[tuple[bool, ice.IcebergType]] = [
        (is_.is_boolean(kind), ice.BooleanType()),
        (is_.is_float16(kind) or is_.is_float32(kind), ice.FloatType()),
        (is_.is_float64(kind), ice.DoubleType()),
        (is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind) or is_.is_null(kind), ice.StringType()),
        (is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind), ice.BinaryType()),
        (is_.is_date(kind), ice.DateType()),
        (is_.is_time(kind), ice.TimeType()),
    ]
    return next((found for holds, found in tests if holds), None)


def _integer(kind: pa.DataType) -> ice.IcebergType:
    if kind == pa.uint64():
        return ice.DecimalType(20, 0)
    return ice.LongType() if kind in (pa.int64(), pa.uint32()) else ice.IntegerType()
