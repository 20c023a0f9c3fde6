"""Comparisons: NULL of NULL; NaN equals NaN and is greater than every other number; text by its code points, as bytes of UTF-8 are."""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BLOB,
    BOOLEAN,
    DATE,
    FLOAT,
    FLOATING,
    TIMESTAMPS,
    UUID,
    VARCHAR,
    Compiled,
    Maker,
    Node,
    Row,
    SqlType,
    map_columns,
    strict_binary,
    types_of,
    whole_range,
)

Comparison = Callable[[Any, Any], bool]
_COMPARABLE = frozenset({BOOLEAN, VARCHAR, BLOB, UUID, DATE, *TIMESTAMPS, *FLOATING})


def is_comparable(sql_type: SqlType) -> bool:
    """Whether values of the type are compared as Python compares them, but for NaN."""
    return sql_type in _COMPARABLE or whole_range(sql_type) is not None


def _equal(left: float, right: float) -> bool:
    return left == right or (left != left and right != right)


def _less(left: float, right: float) -> bool:
    return left < right or (right != right and left == left)


FLOAT_COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "=": _equal,
        "<>": lambda left, right: not _equal(left, right),
        "<": _less,
        ">": lambda left, right: _less(right, left),
        "<=": lambda left, right: not _less(right, left),
        ">=": lambda left, right: not _less(left, right),
    }
)
COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {"=": operator.eq, "<>": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
)


def comparison(symbol: str, sql_type: SqlType) -> Comparison:
    """The comparison of two values of a comparable type that are not NULL."""
    return (FLOAT_COMPARISONS if sql_type in FLOATING else COMPARISONS)[symbol]


def _compare(symbol: str) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        left, right = types_of(node)
        return strict_binary(parts, comparison(symbol, left), COMPARISONS[symbol]) if left == right and is_comparable(left) else None

    return make


def _distinct(negated: bool) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        left, right = types_of(node)
        if left != right or not is_comparable(left):
            return None
        equal, (first, second) = comparison("=", left), [part.by_row for part in parts]

        def evaluate(row: Row) -> bool:
            first_value, second_value = first(row), second(row)
            same = first_value is second_value if first_value is None or second_value is None else equal(first_value, second_value)
            return same is negated

        return Compiled(evaluate)

    return make


def _in(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if len(set(types_of(node))) != 1 or not is_comparable(node.parts[0].type):
        return None
    equal, (sought, *among) = comparison("=", node.parts[0].type), [part.by_row for part in parts]

    def evaluate(row: Row) -> bool | None:
        value, others = sought(row), [part(row) for part in among]
        if value is None:
            return None
        if any(other is not None and equal(value, other) for other in others):
            return True
        return None if None in others else False

    listed = node.parts[1:]
    if node.parts[0].type in FLOATING or any(part.operation != "constant" or part.value is None for part in listed):
        return Compiled(evaluate)
    return Compiled(evaluate, map_columns(parts[:1], frozenset([part.value for part in listed]).__contains__))


def _extreme(symbol: str) -> Maker:
    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        # Of floats, the engine turns -0.0 into 0.0.
        if set(types_of(node)) != {node.type} or not is_comparable(node.type) or node.type == FLOAT:
            return None
        better, by_row = comparison(symbol, node.type), [part.by_row for part in parts]

        def evaluate(row: Row) -> Any:
            best = None
            for part in by_row:
                value = part(row)
                if value is not None and (best is None or better(value, best)):
                    best = value
            return best

        return Compiled(evaluate)

    return make


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        **{symbol: _compare(symbol) for symbol in COMPARISONS},
        "!=": _compare("<>"),
        "IS DISTINCT FROM": _distinct(negated=False),
        "IS NOT DISTINCT FROM": _distinct(negated=True),
        "in": _in,
        "greatest": _extreme(">"),
        "least": _extreme("<"),
    }
)
