"""Arithmetic as the engine does it: integers and decimals that fit their type, and doubles and floats by IEEE 754."""

import math
import operator
from collections.abc import Callable, Mapping
from ctypes import c_float
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    DOUBLE,
    FLOATING,
    INTEGER_RANGES,
    Compiled,
    EngineNeeded,
    Maker,
    Node,
    ZeroDivisor,
    strict_binary,
    strict_unary,
    types_of,
    whole_range,
)


def _check_range(compute: Callable[[int, int], int], low: int, high: int) -> Callable[[int, int], int]:
    def within(left: int, right: int) -> int:
        value = compute(left, right)
        if low <= value <= high:
            return value
        raise EngineNeeded

    return within


def round_to_float(compute: Callable[..., float]) -> Callable[..., float]:
    """A computation of doubles with its result as a float: for one operation on floats, rounding twice changes nothing."""
    return lambda *values: c_float(compute(*values)).value


def _linear(compute: Callable[[Any, Any], Any]) -> Maker:
    """`+` or `-` of two numbers of the type of the result."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if types_of(node) != [node.type, node.type]:
            return None
        if node.type in FLOATING:
            return strict_binary(parts, compute if node.type == DOUBLE else round_to_float(compute))
        limits = whole_range(node.type)
        return None if limits is None else strict_binary(parts, _check_range(compute, *limits))

    return make


def _minus(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if len(parts) == 2:
        return _subtract(node, parts)
    limits = whole_range(node.type)
    if types_of(node) != [node.type]:
        return None
    if limits is not None:
        negate = _check_range(lambda value, _: -value, *limits)
        return strict_unary(parts[0], lambda value: negate(value, 0))
    return strict_unary(parts[0], operator.neg) if node.type in FLOATING else None


_subtract = _linear(operator.sub)


def _times(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    types = types_of(node)
    if node.type.name != "DECIMAL":
        return _linear(operator.mul)(node, parts)
    if [part.name for part in types] != ["DECIMAL", "DECIMAL"] or types[0].scale + types[1].scale != node.type.scale:
        return None
    return strict_binary(parts, _check_range(operator.mul, *(whole_range(node.type) or (0, 0))))


def divide(left: float, right: float) -> float:
    """Division by IEEE 754."""
    if right:
        return left / right
    if not left or math.isnan(left) or math.isnan(right):
        return math.nan
    return math.inf if math.copysign(1, left) == math.copysign(1, right) else -math.inf


def _divide(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if node.type in FLOATING and types_of(node) == [node.type, node.type]:
        return strict_binary(parts, divide if node.type == DOUBLE else round_to_float(divide))
    return None


def _divide_truncating(left: int, right: int) -> int:
    if not right:
        raise ZeroDivisor
    return left // right if (left < 0) == (right < 0) else -(-left // right)


def _remainder(left: int, right: int) -> int:
    if right == -1:
        # The engine computes the quotient too, which may not fit the type.
        raise EngineNeeded
    return left - right * _divide_truncating(left, right)


def _float_remainder(left: float, right: float) -> float:
    if not right:
        # NaN or an error, depending on what the divisor is made of.
        raise EngineNeeded
    return math.nan if math.isinf(left) else math.fmod(left, right)


def _divide_whole(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if types_of(node) != [node.type, node.type] or node.type.name not in INTEGER_RANGES:
        return None
    return strict_binary(parts, _check_range(_divide_truncating, *INTEGER_RANGES[node.type.name]))


def _modulo(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if types_of(node) != [node.type, node.type]:
        return None
    if node.type in FLOATING:
        return strict_binary(parts, _float_remainder)
    return None if whole_range(node.type) is None else strict_binary(parts, _remainder)


def _bitwise(compute: Callable[[int, int], int]) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if node.type.name not in INTEGER_RANGES or types_of(node) != [node.type, node.type]:
            return None
        return strict_binary(parts, compute)

    return make


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "+": _linear(operator.add),
        "-": _minus,
        "*": _times,
        "/": _divide,
        "//": _divide_whole,
        "%": _modulo,
        "mod": _modulo,
        "&": _bitwise(operator.and_),
        "|": _bitwise(operator.or_),
        "xor": _bitwise(operator.xor),
    }
)
