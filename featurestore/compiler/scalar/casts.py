"""Casts between numbers, times and text. A value that does not fit, or a text in an uncommon form, is left to the engine."""

import math
from collections.abc import Callable
from ctypes import c_float
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    FLOATING,
    INTEGER_RANGES,
    VARCHAR,
    Compiled,
    EngineNeeded,
    Node,
    Row,
    SqlType,
    strict_unary,
    whole_range,
)
from featurestore.compiler.scalar.numeric_functions import divide_half_away
from featurestore.compiler.scalar.text_forms import parser, writer
from featurestore.compiler.scalar.time_values import time_cast

Conversion = Callable[[Any], Any]
_EXACT = 2**53
_EXACT_POWER = 22


def compile_cast(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    """Compile a CAST or TRY_CAST; where a CAST fails, the engine decides what a TRY_CAST is."""
    (part,) = node.parts
    if part.type.name == "NULL":
        return Compiled(_null) if part.operation == "constant" else None
    if part.type == node.type:
        return parts[0]
    conversion = _conversion(part.type, node.type)
    return None if conversion is None else strict_unary(parts[0], conversion)


def _null(_: Row) -> None:
    """NULL."""


def _conversion(source: SqlType, target: SqlType) -> Conversion | None:
    if target == VARCHAR:
        return writer(source)
    if source == VARCHAR:
        return parser(target)
    limits = whole_range(target)
    if source == BOOLEAN or whole_range(source) is not None:
        return _of_integer(source, target, limits)
    if source in FLOATING:
        return _of_double(target, limits)
    return time_cast(source, target)


def _of_integer(source: SqlType, target: SqlType, limits: tuple[int, int] | None) -> Conversion | None:
    """Conversions of booleans, integers, and decimals, which are integers and a scale."""
    if limits is not None:
        factor = 10 ** abs(target.scale - source.scale)
        if target.scale >= source.scale:
            return lambda value: _fitting(value * factor, *limits)
        return lambda value: _fitting(divide_half_away(value, factor), *limits)
    if target == BOOLEAN:
        return lambda value: value != 0
    if target not in FLOATING or source.scale > _EXACT_POWER:
        return None
    power = 10.0**source.scale
    if target == DOUBLE:
        return lambda value: float(_fitting(value, -_EXACT, _EXACT)) / power
    # Floats hold powers of ten up to 10 ** 10.
    return (lambda value: c_float(_fitting(value, -_EXACT, _EXACT)).value) if not source.scale else None


def _of_double(target: SqlType, limits: tuple[int, int] | None) -> Conversion | None:
    if target == DOUBLE:
        return lambda value: value
    if target == FLOAT:
        return _to_float
    if target == BOOLEAN:
        return lambda value: value != 0
    if limits is None:
        return None
    return (lambda value: _to_integer(value, limits)) if target.name in INTEGER_RANGES else None


def _to_float(value: float) -> float:
    single = c_float(value).value
    if math.isinf(single) and not math.isinf(value):
        raise EngineNeeded
    return single


def _to_integer(value: float, limits: tuple[int, int]) -> int:
    if not abs(value) < 2.0**63:
        raise EngineNeeded
    return _fitting(round(value), *limits)


def _fitting(value: int, low: int, high: int) -> int:
    if low <= value <= high:
        return value
    raise EngineNeeded
