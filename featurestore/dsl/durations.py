"""Durations are strings such as `90s`, `15m`, `1h`, `7d`, `2w`, and microseconds inside."""

import re

_UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
_PATTERN = re.compile(r"(\d+)([smhdw])")


def microseconds(duration: str) -> int:
    """The length of `duration` in microseconds. Raises ValueError with a message fit for users."""
    match = _PATTERN.fullmatch(duration) if isinstance(duration, str) else None
    if match is None:
        raise ValueError(f"{duration!r} is not a duration; write a whole number and one of s, m, h, d, w, such as '15m' or '7d'")
    return int(match[1]) * _UNITS[match[2]]
