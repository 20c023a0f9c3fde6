"""Dates as days and timestamps as microseconds since 1970, in UTC, in the years 1 to 9999."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

from featurestore.compiler.scalar.nodes import DATE, TIMESTAMPS, EngineNeeded, SqlType
from featurestore.values.epoch import EPOCH_DAY

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
FIRST_DAY, LAST_DAY = date.min.toordinal() - EPOCH_DAY, date.max.toordinal() - EPOCH_DAY
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,6}))?(?:\+00|\+00:00|Z)?)?"
)


def calendar_date(days: int) -> date:
    """The date of a day. Raises: EngineNeeded for a day outside the years 1 to 9999."""
    if FIRST_DAY <= days <= LAST_DAY:
        return date.fromordinal(days + EPOCH_DAY)
    raise EngineNeeded


def day_of(day: date) -> int:
    """The number of a date's day."""
    return day.toordinal() - EPOCH_DAY


def checked_timestamp(micros: int) -> int:
    """A timestamp. Raises: EngineNeeded for one outside the years 1 to 9999."""
    if FIRST_DAY * DAY <= micros < (LAST_DAY + 1) * DAY:
        return micros
    raise EngineNeeded


def write_date(days: int) -> str:
    """The date as YYYY-MM-DD."""
    return calendar_date(days).isoformat()


def write_timestamp(micros: int) -> str:
    """The timestamp as YYYY-MM-DD HH:MM:SS, with a fraction if it has one, without its last zeros."""
    days, rest = divmod(micros, DAY)
    seconds, fraction = divmod(rest, SECOND)
    text = f"{write_date(days)} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


def parse_date(text: str) -> int:
    """The day of a date in the form YYYY-MM-DD. Raises: EngineNeeded."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise EngineNeeded
    try:
        return day_of(date(int(match[1]), int(match[2]), int(match[3])))
    except ValueError:
        raise EngineNeeded from None


def parse_timestamp(text: str) -> int:
    """The timestamp of a text in the form YYYY-MM-DD HH:MM:SS.ffffff+00; all but the date may be missing. Raises: EngineNeeded."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise EngineNeeded
    day, hour, minute, second, fraction = match.groups()
    micros = parse_date(day) * DAY
    if hour is None:
        return micros
    return micros + int(hour) * HOUR + int(minute) * MINUTE + int(second) * SECOND + int((fraction or "").ljust(6, "0"))


def time_cast(source: SqlType, target: SqlType) -> Callable[[Any], Any] | None:
    """The conversion between dates and timestamps, which are in UTC with and without zone; None for other types."""
    if source in TIMESTAMPS and target in TIMESTAMPS:
        return lambda micros: micros
    if source == DATE and target in TIMESTAMPS:
        return lambda days: days * DAY
    if source in TIMESTAMPS and target == DATE:
        return lambda micros: micros // DAY
    return None
