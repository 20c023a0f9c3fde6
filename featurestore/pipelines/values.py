"""Values from callers, fitted to the type of the column they are compared with: exactly, or refused by name."""

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from featurestore.errors import TypeMismatch

_RANGES = {"INTEGER": 2**31, "BIGINT": 2**63}


def fit(value: Any, kind: str, what: str) -> Any:
    """`value` as the Python value of a DuckDB type; None stays None. JSON spellings of dates, times, UUIDs and
    decimals are read. Raises: TypeMismatch naming `what`, the value and the type.
    """
    if value is None:
        return None
    if hasattr(value, "item") and not isinstance(value, str | bytes):  # numpy scalars
        value = value.item()
    if isinstance(value, float) and math.isnan(value) and kind not in ("DOUBLE", "FLOAT"):
        return None
    fitted = _FITTERS.get("" if kind.endswith("[]") else kind.partition("(")[0], _as_is)(value, kind)
    if fitted is None:
        raise TypeMismatch(f"{what}: {value!r} is {type(value).__name__}, but the column is {kind}", field=what, expected=kind)
    return fitted


def _integer(value: Any, kind: str) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value // 1:
        return None
    return int(value) if -_RANGES[kind] <= value < _RANGES[kind] else None


def _double(value: Any, _: str) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None


def _decimal(value: Any, kind: str) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        return None
    scale = int(kind.rstrip(")").partition(",")[2])
    return exact if exact.is_finite() and exact == round(exact, scale) else None


def _boolean(value: Any, _: str) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: Any, _: str) -> str | None:
    return value if isinstance(value, str) else None


def _binary(value: Any, _: str) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray) else None


def _uuid(value: Any, _: str) -> uuid.UUID | None:
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _date(value: Any, _: str) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value if type(value) is date else None
    except ValueError:
        return None


def _timestamp(value: Any, _: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if type(moment) is date:
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if not isinstance(moment, datetime):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _as_is(value: Any, _: str) -> Any:
    return value


_FITTERS: Mapping[str, Callable[[Any, str], Any]] = {
    "BOOLEAN": _boolean,
    "INTEGER": _integer,
    "BIGINT": _integer,
    "FLOAT": _double,
    "DOUBLE": _double,
    "DECIMAL": _decimal,
    "VARCHAR": _string,
    "BLOB": _binary,
    "UUID": _uuid,
    "DATE": _date,
    "TIMESTAMP WITH TIME ZONE": _timestamp,
}
