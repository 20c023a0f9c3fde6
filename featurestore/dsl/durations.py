"""Convert durations, which are strings such as `90s`, `15m`, `1h`, `7d`, `2w`, to and from microseconds."""

import re
from datetime import timedelta
from typing import Any

from featurestore.dsl.tuples import as_tuple
from featurestore.errors import brief

_UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_PATTERN = re.compile(r"(\d+)([smhdw])")


def as_text(duration: Any) -> Any:
    """A timedelta of whole seconds as text, in days, hours, minutes or seconds; other values are unchanged."""
    if not isinstance(duration, timedelta):
        return duration
    length = duration // timedelta(microseconds=1)
    for unit in ("d", "h", "m", "s"):
        if length > 0 and length % _UNITS[unit] == 0:
            return f"{length // _UNITS[unit]}{unit}"
    return duration


def as_texts(durations: Any) -> tuple[Any, ...]:
    """One duration or several as texts; other values are unchanged, to be reported by the check of definitions."""
    return tuple(as_text(duration) for duration in as_tuple(durations))


def microseconds(duration: str) -> int:
    """The length of `duration` in microseconds. Raises ValueError with a message for users."""
    match = _PATTERN.fullmatch(duration) if isinstance(duration, str) else None
    if match is None:
        raise ValueError(f"{brief(duration)} is not a duration; write a whole number and one of s, m, h, d, w, such as '15m' or '7d'")
    return int(match[1]) * _UNITS[match[2]]
