"""CASE, COALESCE, AND, OR, NOT, IS NULL and TRY: what is evaluated, and what NULL makes of it."""

import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from featurestore.compiler.scalar.nodes import (
    BOOLEAN,
    Compiled,
    Maker,
    Node,
    Row,
    ZeroDivisor,
    map_columns,
    strict_unary,
    types_of,
)


def _case(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    *checks, rest = types_of(node)
    if set(checks[::2]) != {BOOLEAN} or {*checks[1::2], rest} != {node.type}:
        return None
    choices, left = [(check.by_row, result.by_row) for check, result in zip(parts[:-1:2], parts[1::2], strict=True)], parts[-1].by_row

    def evaluate(row: Row) -> Any:
        for condition, result in choices:
            if condition(row):
                return result(row)
        return left(row)

    return Compiled(evaluate)


def _coalesce(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    if set(types_of(node)) != {node.type}:
        return None

    by_row = [part.by_row for part in parts]

    def evaluate(row: Row) -> Any:
        for evaluate_part in by_row:
            value = evaluate_part(row)
            if value is not None:
                return value
        return None

    # By columns, the first part has no NULL.
    return Compiled(evaluate, parts[0].by_column, parts[0].ordered)


def _connective(decisive: bool) -> Maker:
    """AND (False decides) or OR (True decides). All parts are evaluated, as in the engine: one that fails is an error."""

    def make(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
        if set(types_of(node)) != {BOOLEAN}:
            return None

        by_row = [part.by_row for part in parts]

        def evaluate(row: Row) -> bool | None:
            values = [evaluate_part(row) for evaluate_part in by_row]
            if decisive in values:
                return decisive
            return None if None in values else not decisive

        decide = any if decisive else all
        return Compiled(evaluate, map_columns(parts, lambda *values: decide(values)))

    return make


def _not(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    return strict_unary(parts[0], operator.not_) if types_of(node) == [BOOLEAN] else None


def _is_null(_: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    part = parts[0].by_row
    return Compiled(lambda row: part(row) is None, map_columns(parts, lambda value: False))


def _is_not_null(_: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    part = parts[0].by_row
    return Compiled(lambda row: part(row) is not None, map_columns(parts, lambda value: True))


def _try(node: Node, parts: tuple[Compiled, ...]) -> Compiled | None:
    (part,) = parts
    evaluate_part = part.by_row

    def evaluate(row: Row) -> Any:
        try:
            return evaluate_part(row)
        except ZeroDivisor:
            return None

    return part._replace(by_row=evaluate) if types_of(node) == [node.type] else None


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
