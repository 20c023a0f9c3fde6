"""Values as JSON: RFC 3339 in UTC with Z and microseconds, exact decimals, NaN and infinities as text."""

import base64
import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_SERIALIZE_NUMPY


NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""What the floats are called that are no numbers of JSON."""


def dumps(
    value: Any, default: Callable[[Any], Any] | None = None, option: int = OPTIONS, suspected: Callable[[], bool] = lambda: True
) -> bytes:
    """The value as JSON, floats that JSON does not know by their names. Raises TypeError for what has no JSON form.

    `suspected` may tell, at less cost than looking at every value, that none of them is there.
    """
    content = orjson.dumps(value, default=default or spelled, option=option)
    # They are null in it: where there is none, there is none of them either. One byte is looked for much faster than four.
    if b"n" not in content or b"null" not in content or not suspected():
        return content
    named = _named(value)
    return content if named is value else orjson.dumps(named, default=default or spelled, option=option)


def _named(value: Any) -> Any:
    """The value with names in the places of floats that are not finite; the same object where there is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        fields = {name: _named(item) for name, item in value.items()}
        return value if all(fields[name] is item for name, item in value.items()) else fields
    if isinstance(value, list | tuple):
        listed = [_named(item) for item in value]
        return value if all(map(operator.is_, listed, value)) else listed
    if getattr(getattr(value, "dtype", None), "kind", "") == "f":
        named = _named(items := value.tolist())
        return value if named is items else named
    return value


def spelled(value: Any) -> Any:
    """The JSON form of a value that JSON does not know. Raises TypeError."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        # `strftime` writes the year 12 as 12.
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def plain(value: Any) -> Any:
    """The same, and text for all else: for error details, which must never fail."""
    try:
        return spelled(value)
    except TypeError:
        return str(value)
