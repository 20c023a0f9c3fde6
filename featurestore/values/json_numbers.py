"""JSON as clients send it, read strictly: no key twice in an object, and numbers as exactly as they are written."""

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any


class NotANumber(float):
    """A NaN or an Infinity that JSON spelled out: no number for any type but doubles, where a NaN of pandas would be a NULL."""


class WrittenNumber(Decimal):
    """A number that a double does not hold as it is written."""


class JsonProblem(ValueError):
    """What is wrong with a document; `key` is where, as far as it is known."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def loads(text: bytes | str) -> Any:
    """The document. A number that a double does not hold as it is written is a WrittenNumber.

    Raises: JsonProblem, ValueError, RecursionError.
    """
    return json.loads(text, object_pairs_hook=_unique, parse_float=_number, parse_constant=NotANumber)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])[:100]
        raise JsonProblem(f"the key {twice!r} is there twice in one object", twice)
    return found


def _number(text: str) -> float | Decimal:
    double = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation as error:
        raise JsonProblem(f"{text[:100]} is beyond all numbers", "") from error
    return double if exact == Decimal(repr(double)) else WrittenNumber(text)
