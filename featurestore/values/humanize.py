"""Format numbers, counts, byte sizes, durations and lists of names for people."""

from collections.abc import Sequence

MAX_NAMES = 5
"""How many names are listed before the rest is only counted."""


def format_count(number: int) -> str:
    """A number with thousands separated by spaces."""
    return f"{number:,}".replace(",", " ")


def format_plural(number: int, word: str) -> str:
    """`1 view`, `2 views`."""
    return f"{format_count(number)} {word}" if number == 1 else f"{format_count(number)} {word}s"


def format_size(bytes_: float) -> str:
    """A byte size such as `37 B`, `1.2 MiB`, `15 MiB`, with at least two digits in larger units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if bytes_ < 1024:
            return f"{bytes_:.0f} {unit}" if unit == "B" or bytes_ >= 10 else f"{bytes_:.1f} {unit}"
        bytes_ /= 1024
    return f"{bytes_:.1f} TiB"


def format_duration(microseconds: int | None) -> str | None:
    """A duration in its two largest units: `-3h 12m`, `9372d`, `5us`; None for None."""
    if microseconds is None:
        return None
    rest, parts = abs(microseconds), []
    for unit, length in _SPANS:
        if rest >= length:
            parts.append(f"{rest // length}{unit}")
            rest %= length
    return ("-" if microseconds < 0 else "") + (" ".join(parts[:2]) or "0s")


_SPANS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1))


def format_names(names: Sequence[str]) -> str:
    """Names separated by commas; only the first of many, and the number of others."""
    shown = ", ".join(names[:MAX_NAMES])
    return shown if len(names) <= MAX_NAMES else f"{shown} and {len(names) - MAX_NAMES} more"
