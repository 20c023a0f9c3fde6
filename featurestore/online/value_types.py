"""Value types: Arrow types without their layout. The value type of a column determines how its values are encoded and decoded."""

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import TypeMismatch
from featurestore.values.epoch import EPOCH, EPOCH_DAY

_FIRST_MICROSECOND = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_BOUNDS = {
    "timestamp": (_FIRST_MICROSECOND, _LAST_MICROSECOND),
    "date": (date.min.toordinal() - EPOCH_DAY, date.max.toordinal() - EPOCH_DAY),
}
_STORED = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.int64(),
    "timestamp": pa.int64(),
    "uuid": pa.binary(),
    "decimal": pa.string(),
}

_VIA = {"timestamp": (pa.timestamp("us", "UTC"),), "date": (pa.date32(), pa.int32())}


def value_type_of(type_: pa.DataType, column: str) -> str:
    """The value type of an Arrow type: bool, int, float, string, binary, date, timestamp, uuid, decimal, or list<value type>.

    Raises: TypeMismatch naming `column` for a type that an online store does not support.
    """
    types = pa.types
    if types.is_dictionary(type_):
        return value_type_of(type_.value_type, column)
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return f"list<{value_type_of(type_.value_type, column)}>"
    if isinstance(type_, pa.UuidType):
        return "uuid"
    tests = {
        "bool": (types.is_boolean,),
        "int": (types.is_integer,),
        "float": (types.is_floating,),
        "string": (types.is_string, types.is_large_string, types.is_string_view),
        "binary": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view),
        "date": (types.is_date,),
        "timestamp": (types.is_timestamp,),
        "decimal": (types.is_decimal,),
    }
    for value_type, checks in tests.items():
        if any(check(type_) for check in checks):
            return value_type
    raise TypeMismatch(f"column '{column}' is {type_}, which an online store does not support; leave it out or cast it", column=column)


def to_stored(array: pa.Array, value_type: str, column: str) -> pa.Array:
    """Convert values to the stored types: int64, float32/64, bool, string, binary, and lists of them.

    Timestamps become microseconds since 1970 UTC (naive ones are in UTC, nanoseconds are truncated), dates become days since 1970, and
    decimals text.

    Raises: TypeMismatch naming `column` for a value outside the years 1 to 9999 or past 64 bits.
    """
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if value_type.startswith("list<"):
        return _stored_list(array, value_type[5:-1], column)
    try:
        for type_ in _VIA.get(value_type, ()):
            array = array.cast(type_, safe=False)
        result = array if value_type == "float" else array.cast(_STORED[value_type])
    except pa.ArrowInvalid as error:
        raise TypeMismatch(f"column '{column}' has a value that does not fit {value_type}: {error}", column=column) from error
    if value_type in _BOUNDS:
        _check_bounds(result, value_type, column)
    return result.cast(pa.float32()) if pa.types.is_float16(result.type) else result


def _stored_list(array: pa.Array, value_type: str, column: str) -> pa.Array:
    values = to_stored(array.flatten(), value_type, column)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array([0, *lengths.cumsum().tolist()], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=array.is_null() if array.null_count else None)


def _check_bounds(array: pa.Array, value_type: str, column: str) -> None:
    extent = pc.min_max(array).as_py()
    first, last = _BOUNDS[value_type]
    if extent["min"] is not None and (extent["min"] < first or extent["max"] > last):
        raise TypeMismatch(f"column '{column}' has a {value_type} outside of the years 1 to 9999", column=column)
