"""CASE, COALESCE, AND, OR, NOT, IS NULL and TRY: what is evaluated, and what NULL makes of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import BOOLEAN, Compiled, Maker, Node, Row, ZeroDivisor, strict_unary, types_of


def _case(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    *checks, rest = types_of(node)
    if set(checks[::2]) != {BOOLEAN} or {*checks[1::2], rest} != {node.type}:
        return None
    choices, left = list(zip(parts[:-1:2], parts[1::2], strict=True)), parts[-1]

    def evaluate(row: Row) -> Any:
        for condition, result in choices:
            if condition(row):
                return result(row)
        return left(row)

    return evaluate


def _coalesce(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if set(types_of(node)) != {node.type}:
        return None

    def evaluate(row: Row) -> Any:
        for part in parts:
            value = part(row)
            if value is not None:
                return value
        return None

    return evaluate


def _connective(decisive: bool) -> Maker:
    """AND (False decides) or OR (True decides). All parts are evaluated, as in the engine: one that fails is an error."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if set(types_of(node)) != {BOOLEAN}:
            return None

        def evaluate(row: Row) -> bool | None:
            values = [part(row) for part in parts]
            if decisive in values:
                return decisive
            return None if None in values else not decisive

        return evaluate

    return make


def _not(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    return strict_unary(parts[0], lambda value: not value) if types_of(node) == [BOOLEAN] else None


def _is_null(_: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    part = parts[0]
    return lambda row: part(row) is None


def _is_not_null(_: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    part = parts[0]
    return lambda row: part(row) is not None


def _try(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    part = parts[0]

    def evaluate(row: Row) -> Any:
        try:
            return part(row)
        except ZeroDivisor:
            return None

    return evaluate if types_of(node) == [node.type] else None


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "case": _case,
        "coalesce": _coalesce,
        "and": _connective(decisive=False),
        "or": _connective(decisive=True),
        "not": _not,
        "is_null": _is_null,
        "is_not_null": _is_not_null,
        "try": _try,
    }
)
