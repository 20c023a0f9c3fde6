"""Parts of dates and timestamps, and differences of timestamps in units of time."""

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType

from featurestore.compiler.scalar.nodes import (
    DATE,
    TIMESTAMPS,
    VARCHAR,
    ZONED,
    Compiled,
    EngineNeeded,
    Maker,
    Node,
    SqlType,
    strict_binary,
    strict_unary,
)
from featurestore.compiler.scalar.numeric_functions import divide_half_away
from featurestore.compiler.scalar.time_values import DAY, HOUR, MINUTE, SECOND, calendar_date, day_of

_FIXED = {"microsecond": 1, "millisecond": 1000, "second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
_UNITS = frozenset({*_FIXED, "week", "month", "quarter", "year"})


def _unit(node: Node) -> str | None:
    """The unit of time that a constant names, without a final s; None for other units."""
    if node.operation != "constant" or not isinstance(node.value, str):
        return None
    word = node.value.lower().removesuffix("s")
    return word if word in _UNITS else None


def _to_micros(sql_type: SqlType) -> int:
    """Microseconds in one unit of a type's values."""
    return DAY if sql_type == DATE else 1


def _date_part(compute: Callable[[date], int]) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        sql_type = node.parts[0].type
        if sql_type == DATE:
            return strict_unary(parts[0], lambda days: compute(calendar_date(days)))
        if sql_type in TIMESTAMPS:
            return strict_unary(parts[0], lambda micros: compute(calendar_date(micros // DAY)))
        return None

    return make


def _time_part(unit: int, limit: int) -> Maker:
    """A part of the time of day: the number of `unit`s, counted up to `limit`."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        return strict_unary(parts[0], lambda micros: micros // unit % limit) if node.parts[0].type in TIMESTAMPS else None

    return make


def _epoch(micros_per_unit: int) -> Maker:
    """Units since 1970, rounded half away from zero."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if node.parts[0].type not in TIMESTAMPS:
            return None
        return strict_unary(parts[0], lambda micros: divide_half_away(micros, micros_per_unit))

    return make


def _toward_zero(value: int, divisor: int) -> int:
    return value // divisor if value >= 0 else -(-value // divisor)


def _epoch_seconds(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    sql_type = node.parts[0].type
    if sql_type not in TIMESTAMPS and sql_type != DATE:
        return None
    if sql_type == ZONED:
        # The engine adds two doubles.
        return strict_unary(parts[0], lambda micros: micros // 1000 / 1000 + micros % 1000 / 1e6)
    factor = _to_micros(sql_type)
    return strict_unary(parts[0], lambda value: value * factor / 1e6)


def _start(unit: str, day: date) -> date:
    """The first day of a day's week, month, quarter or year."""
    if unit == "week":
        return calendar_date(day_of(day) - day.weekday())
    if unit == "year":
        return day.replace(month=1, day=1)
    return day.replace(month=day.month - (day.month - 1) % 3 if unit == "quarter" else day.month, day=1)


def _truncate(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    unit, (_, value) = _unit(node.parts[0]), node.parts
    if unit is None or node.type not in TIMESTAMPS or (value.type != node.type and value.type != DATE):
        return None
    factor = _to_micros(value.type)
    if unit in _FIXED:
        step = _FIXED[unit]
        return strict_unary(parts[1], lambda number: number * factor // step * step)
    return strict_unary(parts[1], lambda number: day_of(_start(unit, calendar_date(number * factor // DAY))) * DAY)


def _difference(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """`date_diff`: the number of boundaries of a unit between two times."""
    unit, (named, first, last) = _unit(node.parts[0]), node.parts
    if unit is None or named.type != VARCHAR or first.type != last.type or first.type not in {DATE, *TIMESTAMPS}:
        return None
    if unit == "week":
        # The engine does not count the Mondays between, at least before 1970.
        return None
    factor = _to_micros(first.type)
    number = _numbering(unit)
    return strict_binary(parts[1:], lambda start, end: number(end * factor) - number(start * factor))


def _numbering(unit: str) -> Callable[[int], int]:
    """The number of the unit of time that a timestamp lies in."""
    if unit in _FIXED:
        step = _FIXED[unit]
        return lambda micros: micros // step
    months = {"month": 1, "quarter": 3, "year": 12}[unit]
    return lambda micros: _month(calendar_date(micros // DAY)) // months


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _full_units(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """`date_sub`: the number of whole units between two times."""
    unit, (_, first, last) = _unit(node.parts[0]), node.parts
    if unit not in _FIXED or first.type != last.type or first.type not in TIMESTAMPS:
        return None
    step, tick = _FIXED[unit], 1000 if first.type == ZONED else 1

    def count(start: int, end: int) -> int:
        if start % tick or end % tick:
            # With a zone, the engine counts from milliseconds, which it rounds.
            raise EngineNeeded
        return _toward_zero(end - start, step)

    return strict_binary(parts[1:], count)


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "year": _date_part(lambda day: day.year),
        "month": _date_part(lambda day: day.month),
        **dict.fromkeys(("day", "dayofmonth"), _date_part(lambda day: day.day)),
        **dict.fromkeys(("dayofweek", "weekday"), _date_part(lambda day: day.isoweekday() % 7)),
        "isodow": _date_part(lambda day: day.isoweekday()),
        "dayofyear": _date_part(lambda day: day.timetuple().tm_yday),
        **dict.fromkeys(("week", "weekofyear"), _date_part(lambda day: day.isocalendar().week)),
        "isoyear": _date_part(lambda day: day.isocalendar().year),
        "quarter": _date_part(lambda day: (day.month + 2) // 3),
        "hour": _time_part(HOUR, 24),
        "minute": _time_part(MINUTE, 60),
        "second": _time_part(SECOND, 60),
        "epoch": _epoch_seconds,
        "epoch_us": _epoch(1),
        "epoch_ms": _epoch(1000),
        "date_trunc": _truncate,
        "date_diff": _difference,
        "datediff": _difference,
        "date_sub": _full_units,
        "datesub": _full_units,
    }
)
