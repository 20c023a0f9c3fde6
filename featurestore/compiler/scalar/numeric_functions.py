"""Functions of numbers. Those of doubles that are not exact are the C library's, which the engine and Python both call."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BOOLEAN,
    DOUBLE,
    FLOATING,
    INTEGER_RANGES,
    Compiled,
    EngineNeeded,
    Maker,
    Node,
    Row,
    strict_binary,
    strict_unary,
    types_of,
    whole_range,
)

_EXACT_POWER = 22
"""The greatest power of ten that a double holds exactly."""


def half_away(value: float) -> float:
    """The nearest whole number, the one away from zero if two are as near, as C's `round`; keeps the sign of zero."""
    size = abs(value)
    if not size < 2.0**52:
        return value
    whole = float(math.floor(size))
    return math.copysign(whole + 1 if size - whole >= 0.5 else whole, value)


def divide_half_away(value: int, divisor: int) -> int:
    """An integer divided by a positive one, rounded to the nearest integer, away from zero if two are as near."""
    size = (2 * abs(value) + divisor) // (2 * divisor)
    return size if value >= 0 else -size


def _toward(compute: Callable[[float], int]) -> Callable[[float], float]:
    """`floor`, `ceil` or `trunc` with a float as result; keeps the sign of zero."""
    return lambda value: math.copysign(float(compute(value)), value) if abs(value) < 2.0**52 else value


def _whole(compute: Callable[[float], int], decimal: Callable[[int, int], int]) -> Maker:
    """`floor`, `ceil`, `trunc` or `round` of one number: `decimal` has it for an integer divided by a power of ten."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        (sql_type, *others) = types_of(node)
        if others:
            return None
        if sql_type == node.type == DOUBLE:
            return strict_unary(parts[0], half_away if decimal is divide_half_away else _toward(compute))
        if sql_type == node.type and sql_type.name in INTEGER_RANGES:
            return strict_unary(parts[0], lambda value: value)
        if sql_type.name == node.type.name == "DECIMAL" and not node.type.scale and sql_type.width == node.type.width:
            power, limit = 10**sql_type.scale, 10**sql_type.width
            return strict_unary(parts[0], lambda value: _within(decimal(value, power), limit))
        return None

    return make


def _within(value: int, limit: int) -> int:
    if -limit < value < limit:
        return value
    raise EngineNeeded


def _round(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if len(parts) == 1:
        return _ROUND_WHOLE(node, parts)
    value, digits = node.parts
    if digits.operation != "constant" or not isinstance(digits.value, int) or not 0 <= digits.value <= _EXACT_POWER:
        return None
    if value.type == node.type == DOUBLE:
        power = 10.0**digits.value
        return strict_unary(parts[0], lambda number: _round_double(number, power))
    if value.type.name != "DECIMAL" or node.type.name != "DECIMAL" or value.type.width != node.type.width:
        return None
    dropped = value.type.scale - node.type.scale
    if node.type.scale != min(digits.value, value.type.scale):
        return None
    limit = 10**node.type.width
    return strict_unary(parts[0], lambda number: _within(divide_half_away(number, 10**dropped), limit))


def _round_double(value: float, power: float) -> float:
    result = half_away(value * power) / power
    return result if math.isfinite(result) else value


def _abs(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if types_of(node) != [node.type]:
        return None
    if node.type in FLOATING:
        return strict_unary(parts[0], math.fabs)
    limits = whole_range(node.type)
    return None if limits is None else strict_unary(parts[0], lambda value: _within(abs(value), limits[1] + 1))


def _sign(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    (sql_type,) = types_of(node)
    if sql_type in FLOATING or sql_type.name in INTEGER_RANGES:
        return strict_unary(parts[0], lambda value: (value > 0) - (value < 0))
    return None


def _test(compute: Callable[[float], bool]) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        return strict_unary(parts[0], compute) if node.type == BOOLEAN and types_of(node)[0] in FLOATING else None

    return make


def _of_double(compute: Callable[[float], float], within: Callable[[float], bool]) -> Maker:
    """A function of a double. Outside its domain the engine decides, which fails for some values and has an infinity for others."""

    def compute_checked(value: float) -> float:
        if within(value):
            return compute(value)
        raise EngineNeeded

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        return strict_unary(parts[0], compute_checked) if [node.type, *types_of(node)] == [DOUBLE, DOUBLE] else None

    return make


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        raise EngineNeeded from None


def _pow(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    return strict_binary(parts, _power) if [node.type, *types_of(node)] == [DOUBLE] * 3 else None


def _pi(_: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    def evaluate(row: Row) -> Any:
        return math.pi

    return None if parts else Compiled(evaluate)


def _is_positive(value: float) -> bool:
    return 0 < value < math.inf


_ROUND_WHOLE = _whole(round, divide_half_away)

MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "abs": _abs,
        "sign": _sign,
        "floor": _whole(math.floor, lambda value, power: value // power),
        "ceil": _whole(math.ceil, lambda value, power: -(-value // power)),
        "ceiling": _whole(math.ceil, lambda value, power: -(-value // power)),
        "trunc": _whole(math.trunc, lambda value, power: value // power if value >= 0 else -(-value // power)),
        "round": _round,
        "isnan": _test(math.isnan),
        "isinf": _test(math.isinf),
        "isfinite": _test(math.isfinite),
        "sqrt": _of_double(math.sqrt, lambda value: 0 <= value < math.inf),
        "ln": _of_double(math.log, _is_positive),
        "log": _of_double(math.log10, _is_positive),
        "log10": _of_double(math.log10, _is_positive),
        "log2": _of_double(math.log2, _is_positive),
        "exp": _of_double(math.exp, lambda value: abs(value) < 700),
        "pow": _pow,
        "power": _pow,
        "**": _pow,
        "pi": _pi,
    }
)
