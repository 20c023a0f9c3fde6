"""Values as JSON: RFC 3339 in UTC with Z and microseconds, exact decimals as text, NaN as null."""

import base64
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_SERIALIZE_NUMPY


def dumps(value: Any) -> bytes:
    """The value as JSON. Raises TypeError for what has no JSON form."""
    return orjson.dumps(value, default=spelled, option=OPTIONS)


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
