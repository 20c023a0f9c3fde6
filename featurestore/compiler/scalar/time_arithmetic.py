"""Sums and differences of dates, timestamps and intervals, which are (months, days, microseconds)."""

from calendar import monthrange
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from featurestore.compiler.scalar.nodes import (
    BIGINT,
    DATE,
    INTERVAL,
    TIMESTAMPS,
    Compiled,
    EngineNeeded,
    Maker,
    Node,
    strict_binary,
    strict_unary,
    types_of,
)
from featurestore.compiler.scalar.time_values import DAY, HOUR, MINUTE, calendar_date, checked_timestamp, day_of

Interval: TypeAlias = tuple[int, int, int]
_INTEGER = "INTEGER"
_MOST_MICROS = 2**63


def _add_interval(micros: int, interval: Interval, sign: int) -> int:
    """A timestamp with an interval added or subtracted: first the months, to the last day of a month that is too short."""
    months, days, rest = interval
    checked_timestamp(micros)
    if months:
        if days or rest:
            # Subtracting, the engine has another order for timestamps with a zone.
            raise EngineNeeded
        micros = _add_months(micros, sign * months)
    return checked_timestamp(micros + sign * (days * DAY + rest))


def _add_months(micros: int, months: int) -> int:
    number, rest = divmod(micros, DAY)
    day = calendar_date(number)
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise EngineNeeded
    last = monthrange(year, month + 1)[1]
    return day_of(day.replace(year=year, month=month + 1, day=min(day.day, last))) * DAY + rest


def _with_interval(sign: int) -> Callable[[Node, tuple[Compiled, ...]], Compiled | None]:
    """A date or a timestamp, and an interval."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if len(parts) != 2 or node.type not in TIMESTAMPS:
            return None
        types = types_of(node)
        if sign > 0 and types[0] == INTERVAL:
            types, parts = types[::-1], parts[::-1]
        if types[1] != INTERVAL or types[0] not in {node.type, DATE}:
            return None
        factor = DAY if types[0] == DATE else 1
        return strict_binary(parts, lambda time, interval: _add_interval(time * factor, interval, sign))

    return make


def _days(node: Node, parts: tuple[Compiled, ...], sign: int) -> Compiled | None:
    """A date and a number of days."""
    if node.type != DATE or [sql_type.name for sql_type in types_of(node)] != ["DATE", _INTEGER]:
        return None

    def shift(day: int, days: int) -> int:
        calendar_date(day + sign * days)
        return day + sign * days

    return strict_binary(parts, shift)


def _plus(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    return _days(node, parts, 1) or _with_interval(1)(node, parts)


def _minus(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    types = types_of(node)
    if node.type == BIGINT and types == [DATE, DATE]:
        return strict_binary(parts, lambda left, right: left - right)
    if node.type == INTERVAL and len(types) == 2 and types[0] == types[1] and types[0] in TIMESTAMPS:
        return strict_binary(parts, _between)
    return _days(node, parts, -1) or _with_interval(-1)(node, parts)


def _between(left: int, right: int) -> Interval:
    micros = left - right
    days = micros // DAY if micros >= 0 else -(-micros // DAY)
    return 0, days, micros - days * DAY


def _length(make_interval: Callable[[int], Interval]) -> Maker:
    """`to_days` and others: the interval of a number of units."""

    def make_checked(count: int) -> Interval:
        months, days, micros = make_interval(count)
        if max(abs(months), abs(days)) < 2**31 and abs(micros) < _MOST_MICROS:
            return months, days, micros
        raise EngineNeeded

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        (count,) = types_of(node)
        return strict_unary(parts[0], make_checked) if node.type == INTERVAL and count.name in {_INTEGER, "BIGINT"} else None

    return make


def _epoch(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """The seconds of an interval of days and microseconds."""

    def seconds(interval: Interval) -> Any:
        months, days, micros = interval
        if months:
            raise EngineNeeded
        return float(days * 86_400) + micros / 1e6

    return strict_unary(parts[0], seconds) if types_of(node) == [INTERVAL] else None


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "+": _plus,
        "-": _minus,
        "epoch": _epoch,
        "to_years": _length(lambda count: (12 * count, 0, 0)),
        "to_months": _length(lambda count: (count, 0, 0)),
        "to_weeks": _length(lambda count: (0, 7 * count, 0)),
        "to_days": _length(lambda count: (0, count, 0)),
        "to_hours": _length(lambda count: (0, 0, count * HOUR)),
        "to_minutes": _length(lambda count: (0, 0, count * MINUTE)),
    }
)
