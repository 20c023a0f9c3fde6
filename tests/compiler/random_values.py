"""Columns of all types, and random values of them, many at the edges of their types."""

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from struct import pack, unpack
from typing import Any

COLUMNS: Mapping[str, str] = {
    "b": "BOOLEAN",
    "b2": "BOOLEAN",
    "i": "INTEGER",
    "i2": "INTEGER",
    "l": "BIGINT",
    "l2": "BIGINT",
    "f": "FLOAT",
    "f2": "FLOAT",
    "d": "DOUBLE",
    "d2": "DOUBLE",
    "n": "DECIMAL(9,2)",
    "m": "DECIMAL(18,4)",
    "w": "DECIMAL(38,10)",
    "p": "DECIMAL(4,4)",
    "s": "VARCHAR",
    "s2": "VARCHAR",
    "g": "VARCHAR",
    "u": "UUID",
    "u2": "UUID",
    "x": "BLOB",
    "x2": "BLOB",
    "c": "DATE",
    "c2": "DATE",
    "t": "TIMESTAMP WITH TIME ZONE",
    "t2": "TIMESTAMP WITH TIME ZONE",
}
"""The columns; `g` has numbers and times as text."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = (
    *("", " ", "a", "A", "abc", "aBc", " a b ", "\ta\n", "ab\0c", "é", "É", "e\u0301", "ß", "ẞ", "İ", "ı", "ǅ", "ŉ", "ς", "Σ", "ΑΣ"),
    *("\U0001f600", "\uffff", "x\U0001f468\u200d\U0001f469", "\u00a0a\u2003", "日本", "ﬀ", "\u0345", "Ж", "ж", "a" * 40, "%", "_", "\\"),
)
NUMERALS = (
    *("0", "1", "-1", "007", "+5", " 3", "1.5", "-0.25", "1e3", "9223372036854775807", "9223372036854775808", "-129", "255", "nan", "inf"),
    *("1_000", "0x1F", "1.", ".5", "", "-", "-0", "3.14159265358979", "true", "FALSE", "t", "123456789012345678", "99.995", "0.00005"),
    *("2024-02-29", "2023-02-29", "0001-01-01", "9999-12-31", "2024-1-5", "2024-02-29 12:30:00", "2024-02-29T23:59:59.999999Z"),
    *("1969-12-31 23:59:59.5+00", "2024-02-29 12:30", "2024-02-29 24:00:00", "2024-02-29 12:30:00+02", "infinity", "epoch"),
    *("2024-02-29 00:00:00.1234567", "550e8400-e29b-41d4-a716-446655440000", "550E8400E29B41D4A716446655440000", "12:30:00"),
)
DOUBLES = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -2.5, 0.1, 0.005, 1.005, 2.675, 0.49999999999999994, 1e-5, 1e15, 1e16, 1e17, 1e22),
    *(math.nan, math.inf, -math.inf, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**53),
    *(2.0**31, 2.0**63, -(2.0**63), 2.0**64, 1e38, -1e38, 9.5, 99.995, 9999999.995, 127.5, 3.4028234663852886e38, 1.401298464324817e-45),
)
DATES = (date.min, date.max, date(1970, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(2023, 1, 31), date(1582, 10, 10))
UUIDS = tuple(str(uuid.UUID(int=number)) for number in (0, 2**128 - 1, 2**127, 0x550E8400E29B41D4A716446655440000))
FLOAT_LIMIT = 3.4028234663852886e38


def make_value(chance: Random, name: str) -> Any:
    """A value of a column, NULL now and then."""
    return None if chance.random() < 0.08 else _MAKERS[COLUMNS[name] if name != "g" else "numerals"](chance)


def _integer(bits: int) -> Callable[[Random], int]:
    edges = (0, 1, -1, 2, 3, 7, 10, 12, 100, 2**31 - 1, -(2**31), 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2**20)

    def make(chance: Random) -> int:
        draw = chance.random()
        if draw < 0.4:
            return chance.choice(edges)
        return chance.randint(-20, 20) if draw < 0.8 else chance.getrandbits(bits) - 2 ** (bits - 1)

    return make


def _double(chance: Random) -> float:
    draw = chance.random()
    if draw < 0.4:
        return chance.choice(DOUBLES)
    if draw < 0.6:
        return round(chance.uniform(-1000, 1000), chance.randint(0, 6))
    if draw < 0.8:
        return chance.gauss(0, 10.0 ** chance.randint(-8, 18))
    (found,) = unpack("d", chance.randbytes(8))
    return float(found)


def _float(chance: Random) -> float:
    value = _double(chance)
    return unpack("f", pack("f", value))[0] if not math.isfinite(value) or abs(value) <= FLOAT_LIMIT else 1.0


def _decimal(width: int, scale: int) -> Callable[[Random], Decimal]:
    most = 10**width - 1

    def make(chance: Random) -> Decimal:
        draw = chance.random()
        edges = (0, 1, -1, 5, 15, 25, -5, 49, 50, -50, most, -most, 10**scale, 10**scale // 2)
        number = chance.choice(edges) if draw < 0.4 else chance.randint(-2000, 2000) if draw < 0.7 else chance.randint(-most, most)
        return Decimal((int(number < 0), tuple(map(int, str(min(abs(number), most)))), -scale))

    return make


def _text(chance: Random) -> str:
    return chance.choice(TEXTS) if chance.random() < 0.7 else "".join(chance.choice(TEXTS) for _ in range(3))


def _numerals(chance: Random) -> str:
    draw = chance.random()
    if draw < 0.6:
        return chance.choice(NUMERALS)
    if draw < 0.7:
        return repr(_double(chance))
    return str(_integer(64)(chance)) if draw < 0.85 else str(_zoned_time(chance))


def _date(chance: Random) -> date:
    draw = chance.random()
    if draw < 0.4:
        return chance.choice(
            (date.min, date.max, date(1970, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(2023, 1, 31), date(1582, 10, 10))
        )
    if draw < 0.8:
        return date(2024, 1, 1) + timedelta(chance.randint(-800, 800))
    return date.fromordinal(chance.randint(1, date.max.toordinal()))


def _zoned_time(chance: Random) -> datetime:
    day = _date(chance)
    micros = chance.choice((0, 0, 1, 86_399_999_999, 43_200_000_000, 500_000, 3_600_000_000, chance.randrange(86_400_000_000)))
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(microseconds=micros)


_MAKERS: Mapping[str, Callable[[Random], Any]] = {
    "BOOLEAN": lambda chance: chance.random() < 0.5,
    "INTEGER": _integer(32),
    "BIGINT": _integer(64),
    "FLOAT": _float,
    "DOUBLE": _double,
    "DECIMAL(9,2)": _decimal(9, 2),
    "DECIMAL(18,4)": _decimal(18, 4),
    "DECIMAL(38,10)": _decimal(38, 10),
    "DECIMAL(4,4)": _decimal(4, 4),
    "VARCHAR": _text,
    "numerals": _numerals,
    "UUID": lambda chance: chance.choice(UUIDS),
    "BLOB": lambda chance: chance.choice((b"", b"\0", b"a", b"ab", b"\xff", chance.randbytes(3))),
    "DATE": _date,
    "TIMESTAMP WITH TIME ZONE": _zoned_time,
}
