"""Encode values as JSON: RFC 3339 times in UTC with Z and microseconds, exact decimals, NaN and infinities as text."""

import base64
import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

from featurestore.values.result import Result

OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_SERIALIZE_NUMPY


NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The names of the floats that JSON has no numbers for."""


def dumps(
    value: Any, default: Callable[[Any], Any] | None = None, option: int = OPTIONS, suspected: Callable[[], bool] = lambda: True
) -> bytes:
    """Encode a value as JSON, with names for NaN and infinities. Raises TypeError for a value without a JSON form.

    `suspected` may return False to skip the search for these, if it is known that there are none.
    """
    content = orjson.dumps(value, default=default or to_json_value, option=option)
    # orjson writes them as null, so without a null there are none. Searching for one byte is much faster than for four.
    if b"n" not in content or b"null" not in content or not suspected():
        return content
    named = replace_leaves(value, _name_non_finite)
    return content if named is value else orjson.dumps(named, default=default or to_json_value, option=option)


def replace_leaves(value: Any, replace: Callable[[Any], Any]) -> Any:
    """The value with what `replace` returns for each value that is in its dicts, lists and tuples; the same object if nothing changes."""
    if isinstance(value, dict):
        fields = {name: replace_leaves(item, replace) for name, item in value.items()}
        return value if all(fields[name] is item for name, item in value.items()) else fields
    if isinstance(value, list | tuple):
        items = [replace_leaves(item, replace) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    return replace(value)


def _name_non_finite(leaf: Any) -> Any:
    """The name of a float that is not finite, also for each in an array; the same object if there are none."""
    if isinstance(leaf, float):
        return leaf if math.isfinite(leaf) else "NaN" if math.isnan(leaf) else "Infinity" if leaf > 0 else "-Infinity"
    if getattr(getattr(leaf, "dtype", None), "kind", "") == "f":
        named = replace_leaves(items := leaf.tolist(), _name_non_finite)
        return leaf if named is items else named
    return leaf


def to_json_value(value: Any) -> Any:
    """The JSON form of a value of a type that JSON lacks. Raises TypeError."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        # Not `strftime`, which writes the year 12 as 12.
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def plain(value: Any) -> Any:
    """As `to_json_value`, with text for all other values: for error details, which must never fail."""
    try:
        return to_json_value(value)
    except TypeError:
        return str(value)
