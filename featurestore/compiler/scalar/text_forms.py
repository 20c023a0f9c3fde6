"""The text of values, and the values of texts in their common forms."""

import math
import re
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER_RANGES,
    TIMESTAMP,
    UUID,
    ZONED,
    EngineNeeded,
    SqlType,
    whole_range,
)
from featurestore.compiler.scalar.time_values import parse_date, parse_timestamp, write_date, write_timestamp

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DOUBLE = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_DECIMAL = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,18}))?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def writer(source: SqlType) -> Callable[[Any], str] | None:
    """The text of values of a type, as CAST has it; None for a type whose texts are the engine's."""
    if source.name == "DECIMAL":
        return lambda value: _decimal_text(value, source)
    return str if source.name in INTEGER_RANGES else _WRITERS.get(source)


def _double_text(value: float) -> str:
    if value != value:
        # The engine writes the sign of a NaN.
        raise EngineNeeded
    return repr(value)


def _decimal_text(value: int, source: SqlType) -> str:
    if not source.scale:
        return str(value)
    digits = str(abs(value)).rjust(source.scale + (source.width > source.scale), "0")
    return f"{'-' if value < 0 else ''}{digits[: -source.scale]}.{digits[-source.scale :]}"


_WRITERS: Mapping[SqlType, Callable[[Any], str]] = MappingProxyType(
    {
        BOOLEAN: lambda value: "true" if value else "false",
        DOUBLE: _double_text,
        DATE: write_date,
        TIMESTAMP: write_timestamp,
        ZONED: lambda value: f"{write_timestamp(value)}+00",
        UUID: lambda value: str(uuid.UUID(int=value)),
    }
)


def parser(target: SqlType) -> Callable[[str], Any] | None:
    """The value of a text; None for a type whose texts are read by the engine."""
    if target.name == "DECIMAL":
        return lambda text: _parse_decimal(text, target)
    limits = whole_range(target)
    if limits is not None:
        return lambda text: _parse_integer(text, limits)
    return _PARSERS.get(target)


def _parse_integer(text: str, limits: tuple[int, int]) -> int:
    if _INTEGER.fullmatch(text) and limits[0] <= (value := int(text)) <= limits[1]:
        return value
    raise EngineNeeded


def _parse_decimal(text: str, target: SqlType) -> int:
    match = _DECIMAL.fullmatch(text)
    fraction = (match[3] or "") if match else ""
    if match is None or len(fraction) > target.scale:
        raise EngineNeeded
    size = int(match[2] + fraction.ljust(target.scale, "0"))
    if size >= 10**target.width:
        raise EngineNeeded
    return -size if match[1] else size


def _parse_double(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise EngineNeeded
    value = float(text)
    if not math.isfinite(value):
        raise EngineNeeded
    return value


def _parse_uuid(text: str) -> int:
    if _UUID.fullmatch(text):
        return int(text.replace("-", ""), 16)
    raise EngineNeeded


_PARSERS: Mapping[SqlType, Callable[[str], Any]] = MappingProxyType(
    {
        DOUBLE: _parse_double,
        DATE: parse_date,
        TIMESTAMP: parse_timestamp,
        ZONED: parse_timestamp,
        UUID: _parse_uuid,
    }
)
