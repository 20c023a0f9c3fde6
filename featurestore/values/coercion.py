"""Values from callers, fitted to the type of the column they are compared with: exactly, or refused by name."""

import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from featurestore.errors import TypeMismatch
from featurestore.values.json_encoding import NAMES

DOUBLES = ("DOUBLE", "FLOAT")
"""The types that have NaN and infinities."""
SHOWN = 100
"""Most characters of a value in a message."""

_RANGES = {"INTEGER": 2**31, "BIGINT": 2**63}
_MOST_FLOAT = 2.0**128 - 2.0**103
"""From here on, a float rounds up to infinity."""
_MOST_BITS = 256
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_WIDE = Context(prec=100)


def fit(value: Any, kind: str, what: str) -> Any:
    """`value` as the Python value of a DuckDB type; None stays None. JSON spellings of dates, times, UUIDs,
    decimals, NaN and infinities are read. Raises: TypeMismatch naming `what`, the value and the type.
    """
    if value is None:
        return None
    if hasattr(value, "item") and not isinstance(value, str | bytes):  # numpy scalars
        value = value.item()
    # A NaN of a frame is its NULL; one that a client spells out is of a class of its own, and is none.
    if type(value) is float and math.isnan(value) and kind not in ("DOUBLE", "FLOAT"):
        return None
    if kind.endswith("[]") and isinstance(value, list | tuple):
        return [fit(item, kind[:-2], f"{what}[{index}]") for index, item in enumerate(value)]
    fitted = _FITTERS.get("[]" if kind.endswith("[]") else kind.partition("(")[0], _as_is)(value, kind)
    if fitted is None:
        raise TypeMismatch(f"{what}: {shown(value)} is {_spoken(value)}, but the column is {kind}", field=what, expected=kind)
    return fitted


def is_fit(value: Any, kind: str) -> bool:
    """Whether `fit` would surely give the value back as it is: a quick look, for those that most keys are."""
    if type(value) is int:
        return kind == "BIGINT" and -(2**63) <= value < 2**63
    return type(value) is str and kind == "VARCHAR" and value.isascii()


def shown(value: Any) -> str:
    """A value in a message: whoever sent it knows how it goes on."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}..."
    if isinstance(value, int) and value.bit_length() > SHOWN:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _spoken(value: Any) -> str:
    """The name of a value's type; of subclasses of ours that of what they are."""
    return next((kind.__name__ for kind in (float, Decimal) if isinstance(value, kind)), type(value).__name__)


def _integer(value: Any, kind: str) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or (isinstance(value, Decimal) and value.is_nan()):
        return None
    # The range first: to take a number apart that has a large exponent takes as many digits.
    if not -_RANGES[kind] <= value < _RANGES[kind] or value != int(value):
        return None
    return int(value)


def _double(value: Any, kind: str) -> float | None:
    """None for a number that no double, or float, is near to. NaN and the infinities may be named, as JSON answers name them."""
    if isinstance(value, str):
        return NAMES.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        double = float(value)
    except (OverflowError, ValueError):
        return None
    most = _MOST_FLOAT if kind == "FLOAT" else math.inf
    if math.isfinite(double):
        return double if abs(double) < most else None
    return double if isinstance(value, float) or (isinstance(value, Decimal) and not value.is_finite()) else None


def _decimal(value: Any, kind: str) -> Decimal | None:
    """None for a number of more digits than the type has, before the point or after."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return None
    text = value if isinstance(value, str) else str(value)
    if not _DECIMAL.fullmatch(text):
        return None
    exact = Decimal(text)
    precision, scale = (int(part) for part in kind.partition("(")[2].rstrip(")").split(","))
    if not exact:
        return Decimal(0).scaleb(-scale)
    if not -scale <= exact.adjusted() < precision - scale:
        return None
    fixed = exact.quantize(Decimal(1).scaleb(-scale), context=_WIDE)
    return fixed if fixed == exact else None


def _boolean(value: Any, _: str) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: Any, _: str) -> str | None:
    return value if isinstance(value, str) and (value.isascii() or _is_unicode(value)) else None


def _is_unicode(text: str) -> bool:
    """Whether there is no half of a surrogate pair in it, which no column holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list(value: Any, _: str) -> None:
    """None: what is a list is fitted item by item."""


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
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        # In UTC it lies before the year 1 or after 9999.
        return None


def _as_is(value: Any, _: str) -> Any:
    return value


_FITTERS: Mapping[str, Callable[[Any, str], Any]] = {
    "[]": _list,
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
