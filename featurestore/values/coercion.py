"""Coerce values from callers to the type of a column, exactly; a value that does not fit is an error."""

import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from featurestore.errors import TypeMismatch
from featurestore.values.json_encoding import NAMES
from featurestore.values.value_types import FLOATING, INTEGERS, TYPES, ZONED, decimal_digits, integer_limit, type_name

MAX_QUOTED = 100
"""Limit of characters of a value quoted in a message."""

_MOST_FLOAT = 2.0**128 - 2.0**103
"""Doubles from this value on round to infinity as a float."""
_MOST_BITS = 256
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_WIDE = Context(prec=100)


def coerce(value: Any, sql_type: str, where: str) -> Any:
    """`value` as the Python value of a DuckDB type; None stays None. JSON spellings of dates, times, UUIDs,
    decimals, NaN and infinities are read. Raises: TypeMismatch naming `where`, the value and the type.
    """
    if value is None:
        return None
    if hasattr(value, "item") and not isinstance(value, str | bytes):  # numpy scalars
        value = value.item()
    # A NaN in a data frame means NULL; one that a client writes out has its own class, and does not.
    if type(value) is float and math.isnan(value) and sql_type not in FLOATING:
        return None
    if sql_type.endswith("[]") and isinstance(value, list | tuple):
        return [coerce(item, sql_type[:-2], f"{where}[{index}]") for index, item in enumerate(value)]
    coerced = _COERCERS.get(type_name(sql_type), _as_is)(value, sql_type)
    if coerced is None:
        raise TypeMismatch(f"{where}: {quote_value(value)} {_misfit(value, sql_type)}", field=where, expected=sql_type)
    return coerced


def is_exact_fit(value: Any, sql_type: str) -> bool:
    """Whether `coerce` would surely give the value back as it is: a quick look, for those that most keys are."""
    if type(value) is int:
        return sql_type == "BIGINT" and -(2**63) <= value < 2**63
    return type(value) is str and sql_type == "VARCHAR" and value.isascii()


def quote_value(value: Any) -> str:
    """A value quoted for a message, truncated."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= MAX_QUOTED else f"{value[:MAX_QUOTED]!r}..."
    if isinstance(value, int) and value.bit_length() > MAX_QUOTED:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def beyond_64_bits(value: int) -> bool:
    """Whether an integer does not fit in BIGINT."""
    return not -(2**63) <= value < 2**63


def too_wide(sql_type: str) -> str:
    """Why a number that is out of range of a type does not fit: it follows the number in a message."""
    digits = decimal_digits(sql_type)
    if digits is not None:
        return f"does not fit in {sql_type}: {digits[0] - digits[1]} digits before the point, and {digits[1]} after it"
    return f"does not fit in {sql_type} ({8 * (TYPES[sql_type].width or 0)} bits)"


def _misfit(value: Any, sql_type: str) -> str:
    """Why a value does not fit a type: it follows the value in a message."""
    named = type_name(sql_type)
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and _is_finite(value)
    if is_number and named in INTEGERS and -integer_limit(named) <= value < integer_limit(named):
        return f"is not a whole number, but the column is {sql_type}"
    if (is_number and (named in INTEGERS or named in FLOATING)) or (named == "DECIMAL" and (is_number or _is_written(value))):
        return too_wide(sql_type)
    return f"is {_type_name(value)}, but the column is {sql_type}"


def _is_finite(value: float | Decimal) -> bool:
    # An int may be too large for math.isfinite, and a Decimal for a double.
    return isinstance(value, int) or (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value))


def _is_written(value: Any) -> bool:
    """Whether a value is the text of a number."""
    return isinstance(value, str) and _DECIMAL.fullmatch(value) is not None


def _type_name(value: Any) -> str:
    """The name of a value's type; for our subclasses, that of the base class."""
    return next((base.__name__ for base in (float, Decimal) if isinstance(value, base)), type(value).__name__)


def _integer(value: Any, sql_type: str) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or (isinstance(value, Decimal) and value.is_nan()):
        return None
    # Check the range first: converting a number with a large exponent would need as many digits.
    limit = integer_limit(sql_type)
    if not -limit <= value < limit or value != int(value):
        return None
    return int(value)


def _double(value: Any, sql_type: str) -> float | None:
    """The double nearest to a number, or None if it is out of range. NaN and infinities may be text, as in our JSON responses."""
    if isinstance(value, str):
        return NAMES.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        double = float(value)
    except (OverflowError, ValueError):
        return None
    limit = _MOST_FLOAT if sql_type == "FLOAT" else math.inf
    if math.isfinite(double):
        return double if abs(double) < limit else None
    return double if isinstance(value, float) or (isinstance(value, Decimal) and not value.is_finite()) else None


def _decimal(value: Any, sql_type: str) -> Decimal | None:
    """The number as a decimal; None if it has more digits than the type, before or after the point."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return None
    text = value if isinstance(value, str) else str(value)
    if not _DECIMAL.fullmatch(text):
        return None
    exact = Decimal(text)
    precision, scale = decimal_digits(sql_type) or (0, 0)
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
    """Whether the text has no lone surrogate, which a column cannot store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list(value: Any, _: str) -> None:
    """None: `coerce` has handled lists, so the value is not one."""


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
        # In UTC it is before the year 1 or after 9999.
        return None


def _as_is(value: Any, _: str) -> Any:
    return value


_COERCERS: Mapping[str, Callable[[Any, str], Any]] = {
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
    ZONED: _timestamp,
}
