"""Values of tensors of the Open Inference Protocol, checked against their datatypes and shapes."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from featurestore.values.coercion import quote_value
from featurestore.values.json_numbers import NotANumber

_FLOATS: Mapping[str, float] = {"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": sys.float_info.max}
"""The greatest value of each floating point datatype."""


def _integer_check(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _float_check(greatest: float) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            # NaN and Infinity written in JSON are values; a number whose double is infinite is not.
            return isinstance(value, NotANumber)
        return not isinstance(value, bool) and isinstance(value, int | float | Decimal) and -greatest <= value <= greatest

    return check


DATATYPES: Mapping[str, Callable[[Any], bool]] = {
    "BOOL": lambda value: isinstance(value, bool),
    **{f"UINT{bits}": _integer_check(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": _integer_check(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{name: _float_check(greatest) for name, greatest in _FLOATS.items()},
    "BYTES": lambda value: isinstance(value, str),
}
"""The datatypes of the protocol, and whether a JSON value is one of theirs."""


def check_values(datatype: str, values: Sequence[Any]) -> None:
    """Raises: ValueError naming the first value that is none of the datatype."""
    is_valid = DATATYPES[datatype]
    for number, value in enumerate(values):
        if not is_valid(value):
            hint = "; leave the tensor out for missing values, or send records to invocations" if value is None else ""
            shown = "null" if value is None else quote_value(value)
            raise ValueError(f"data[{number}]: {shown} is not a value of {datatype}{hint}")


def flat_values(data: list[Any], shape: Sequence[int]) -> list[Any]:
    """The values of a tensor in row-major order, from flat or nested lists. Raises: ValueError for another number of values."""
    expected = math.prod(shape)
    if len(shape) == 2 and data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise ValueError(f"data: has {len(data)} lists, and the shape {_shown(shape)} is of {_number(shape[0])}")
        for number, row in enumerate(data):
            if not isinstance(row, list) or len(row) != shape[1]:
                what = f"{len(row)} values" if isinstance(row, list) else "no list of values"
                raise ValueError(f"data[{number}]: has {what}, and the shape {_shown(shape)} is of {_number(shape[1])} in each")
        data = [value for row in data for value in row]
    if len(data) != expected:
        raise ValueError(f"data: has {len(data)} values, and the shape {_shown(shape)} is of {_number(expected)}")
    return data


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(_number, shape))}]"


def _number(number: int) -> str:
    """A number for a message: those of a client may have any number of digits."""
    return str(number) if number.bit_length() < 64 else "a number of over 64 bits"
