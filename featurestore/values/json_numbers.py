"""Parse clients' JSON strictly: no repeated keys in an object, and exact numbers."""

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any


class NotANumber(float):
    """A NaN or Infinity written out in JSON: a value only for doubles, while a NaN of pandas means NULL."""


class WrittenNumber(Decimal):
    """A number that a double cannot represent exactly as written."""


class JsonProblem(ValueError):
    """A JSON document is invalid; `key` says where, if known."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def loads(text: bytes | str) -> Any:
    """Parse a document. A number that a double cannot represent exactly as written becomes a WrittenNumber.

    Raises: JsonProblem, ValueError, RecursionError.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_float=_number, parse_constant=NotANumber)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for index, name in enumerate(names) if name in names[:index])[:100]
        raise JsonProblem(f"the key {repeated!r} is given twice in one object", repeated)
    return result


def _number(text: str) -> float | Decimal:
    double = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation as error:
        raise JsonProblem(f"{text[:100]} is out of range", "") from error
    return double if exact == Decimal(repr(double)) else WrittenNumber(text)
