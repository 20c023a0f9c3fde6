"""Find values that tables cannot store: times outside the years 1 to 9999, and decimals with more digits than their type."""

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.values.times import FIRST, LAST

_TICKS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY = 86_400_000_000


def unstorable_values(column: pa.Array | pa.ChunkedArray) -> str | None:
    """A description of the values in a column, also inside lists and structs, that a table cannot store; None if there are none."""
    arrow_type = column.type
    if isinstance(column, pa.ChunkedArray) and pa.types.is_nested(arrow_type):
        return next((problem for chunk in column.chunks if (problem := unstorable_values(chunk)) is not None), None)
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return unstorable_values(column.flatten())
    if pa.types.is_struct(arrow_type):
        return next((problem for part in column.flatten() if (problem := unstorable_values(part)) is not None), None)
    if pa.types.is_timestamp(arrow_type) and arrow_type.unit in _TICKS:
        return _outside(column.cast(pa.int64()), _TICKS[arrow_type.unit])
    if pa.types.is_date32(arrow_type):
        return _outside(column.cast(pa.int32()).cast(pa.int64()), _DAY)
    if pa.types.is_decimal(arrow_type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return f"a number of more than {arrow_type.precision} digits"
    return None


def _outside(numbers: pa.Array | pa.ChunkedArray, tick: int) -> str | None:
    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None or FIRST <= ends["min"] * tick <= ends["max"] * tick <= LAST:
        return None
    return "a time outside the years 1 to 9999"
