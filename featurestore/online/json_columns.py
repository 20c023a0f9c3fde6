"""Encode the values of rows as JSON column by column. The answer to a lookup is concatenated from these bytes.

Values are formatted as in HTTP responses: RFC 3339 times in UTC with microseconds, exact decimals as text, binary values as Base64, NaN
and infinities as their names. Adjacent columns of numbers are written with one call of orjson.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from featurestore.values import times
from featurestore.values.epoch import EPOCH_DAY
from featurestore.values.json_encoding import NAMES

STEP_ROWS = 2048
_NULL = b"null"
_COMMA = b","
_QUOTED_NAMES = tuple(b'"%b"' % name.encode() for name in NAMES)
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
    "binary": base64.b64decode,
    "float": lambda value: NAMES[value] if isinstance(value, str) else value,
}
_FORMATTERS: dict[str, Callable[[Any], Any]] = {
    "timestamp": times.text,
    "date": lambda days: date.fromordinal(EPOCH_DAY + days).isoformat(),
    "uuid": lambda value: str(UUID(bytes=value)),
    "decimal": lambda text: str(Decimal(text)),
    "binary": lambda value: base64.b64encode(value).decode("ascii"),
    "float": lambda value: value if np.isfinite(value) else _name(value),
}


def encode_values(heads: pa.Array, columns: Sequence[pa.Array], value_types: Sequence[str]) -> pa.Array:
    """One binary value for each row: the bytes of its head, and its values as JSON, each after a comma.

    The columns are results of `to_stored`. A few thousand rows at a time are faster than all, since they fit in the processor's cache.
    """
    parts = [
        pc.binary_join_element_wise(
            heads.slice(start, STEP_ROWS), *_segments([c.slice(start, STEP_ROWS) for c in columns], value_types), b""
        )
        for start in range(0, len(heads), STEP_ROWS)
    ]
    return pa.concat_arrays(parts)


def decode_values(rows: Sequence[bytes], value_types: Sequence[str]) -> list[list[Any]]:
    """The Python values of rows, from the bytes of their values.

    A row with another number of values, which `encode_values` did not write, gets its JSON values unconverted.

    Raises: orjson.JSONDecodeError for invalid bytes.
    """
    content = b"[[%b]]" % b"],[".join([row[1:] for row in rows])
    values: list[list[Any]] = orjson.loads(content) if rows else []
    if len(values) != len(rows):
        raise orjson.JSONDecodeError("the bytes of a row are those of several", "", 0)
    converted = [row for row in values if len(row) == len(value_types)]
    finite = not any(name in content for name in _QUOTED_NAMES)
    for index, value_type in enumerate(value_types):
        if (parser := _parser_of(value_type)) is not None and not (finite and "float" in value_type):
            for row in converted:
                if (value := row[index]) is not None:
                    row[index] = parser(value)
    return values


def _segments(columns: Sequence[pa.Array], value_types: Sequence[str]) -> Iterator[pa.Array]:
    """Binary arrays that, joined row by row, are the values of each row, each after a comma."""
    described = [(_number_type(column, value_type), column, value_type) for column, value_type in zip(columns, value_types, strict=True)]
    for number_type, group in groupby(described, lambda entry: entry[0]):
        if number_type is None:
            for _, column, value_type in group:
                yield from (pa.repeat(pa.scalar(_COMMA), len(column)), _texts(column, value_type))
        else:
            yield _numbers([column.to_numpy(zero_copy_only=False) for _, column, _ in group], number_type)


def _number_type(column: pa.Array, value_type: str) -> type[np.generic] | None:
    """The numpy type as which orjson writes a column correctly; None if its values must be written separately."""
    if value_type == "int" and not column.null_count:
        return np.int64
    if value_type != "float":
        return None
    # In numpy a NULL becomes NaN, which orjson writes as null. A stored NaN must not become null.
    finite = int(np.isfinite(column.to_numpy(zero_copy_only=False)).sum())
    return np.float64 if finite + column.null_count == len(column) else None


def _numbers(columns: Sequence[NDArray[Any]], number_type: type[np.generic]) -> pa.Array:
    matrix = np.empty((len(columns[0]), len(columns)), number_type)
    for index, column in enumerate(columns):
        matrix[:, index] = column
    content = orjson.dumps(matrix.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
    # "[1,2,3,4]" becomes ",1,2,3,4", where each row starts with a comma.
    data = np.frombuffer(content, np.uint8, len(content) - 1).copy()
    data[0] = _COMMA[0]
    starts = np.flatnonzero(data == _COMMA[0])[:: len(columns)]
    offsets = pa.array(np.append(starts, len(data)), pa.int32())
    return pa.Array.from_buffers(pa.binary(), len(matrix), [None, offsets.buffers()[1], pa.py_buffer(data)])


def _texts(column: pa.Array, value_type: str) -> pa.Array:
    """The JSON texts of a column's values."""
    if value_type == "bool":
        return pc.if_else(column, pa.scalar(b"true"), pa.scalar(b"false")).fill_null(_NULL)
    if value_type == "int":
        return column.cast(pa.string()).cast(pa.binary()).fill_null(_NULL)
    return pa.array(map(orjson.dumps, _format_values(column.to_pylist(), value_type)), pa.binary(), size=len(column))


def value_parser(value_type: str) -> Callable[[Any], Any] | None:
    """A function that converts a value of this type from its JSON form; None if they are the same."""
    return _parser_of(value_type)


def _format_values(values: Iterable[Any], value_type: str) -> Iterator[Any]:
    """Convert values to ones that orjson writes in the format of HTTP responses."""
    if value_type.startswith("list<"):
        return (None if value is None else list(_format_values(value, value_type[5:-1])) for value in values)
    format_value = _FORMATTERS.get(value_type)
    return iter(values) if format_value is None else (None if value is None else format_value(value) for value in values)


def _name(value: float) -> str:
    return next(name for name, number in NAMES.items() if number == value or value != value)


@lru_cache(maxsize=256)
def _parser_of(value_type: str) -> Callable[[Any], Any] | None:
    """A function that converts a value from its JSON form; None if no conversion is needed."""
    if value_type.startswith("list<"):
        inner = _parser_of(value_type[5:-1])
        return None if inner is None else lambda values: [None if value is None else inner(value) for value in values]
    return _PARSERS.get(value_type)
