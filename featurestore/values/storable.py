"""What a table holds and everybody reads: times of the years 1 to 9999, and decimals of no more digits than their type has."""

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.values.times import FIRST, LAST

_TICKS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY = 86_400_000_000


def beyond(column: pa.Array | pa.ChunkedArray) -> str | None:
    """What there is in a column, also inside lists and structs, that no table holds; None when all of it is fine."""
    kind = column.type
    if isinstance(column, pa.ChunkedArray) and pa.types.is_nested(kind):
        return next((found for chunk in column.chunks if (found := beyond(chunk)) is not None), None)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return beyond(column.flatten())
    if pa.types.is_struct(kind):
        return next((found for part in column.flatten() if (found := beyond(part)) is not None), None)
    if pa.types.is_timestamp(kind) and kind.unit in _TICKS:
        return _outside(column.cast(pa.int64()), _TICKS[kind.unit])
    if pa.types.is_date32(kind):
        return _outside(column.cast(pa.int32()).cast(pa.int64()), _DAY)
    if pa.types.is_decimal(kind):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return f"a number of more than {kind.precision} digits"
    return None


def _outside(numbers: pa.Array | pa.ChunkedArray, tick: int) -> str | None:
    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None or FIRST <= ends["min"] * tick <= ends["max"] * tick <= LAST:
        return None
    return "a time outside the years 1 to 9999"
