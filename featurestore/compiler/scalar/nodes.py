"""Bound expressions: a tree of operations in which every cast is explicit and every part has a DuckDB type."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from featurestore.values import value_types

Row: TypeAlias = tuple[Any, ...]
ByRow: TypeAlias = Callable[[Row], Any]
"""Computes the value of a bound expression for one row. Raises: EngineNeeded."""
ByColumn: TypeAlias = Callable[[Sequence[Sequence[Any]], int], Iterable[Any]]
"""Computes the values of a bound expression from whole columns and the number of rows, one after the other, by loops of C.

Raises: EngineNeeded while they are read.
"""


class Compiled(NamedTuple):
    """A bound expression, compiled.

    `by_column` computes the same as `by_row` for columns without NULL and NaN, and has no NULL then; None for an expression that has none
    of this form. `ordered`: it has no NaN either.
    """

    by_row: ByRow
    by_column: ByColumn | None = None
    ordered: bool = False


@dataclass(frozen=True)
class SqlType:
    """A DuckDB type: its name, and the width and scale of a decimal.

    Values of it are computed as Python's bool, int, float, str and bytes. Decimals are integers (the value times 10 ** scale), and so
    are dates (days since 1970), timestamps (microseconds since 1970, UTC) and UUIDs. Intervals are (months, days, microseconds).
    """

    name: str
    width: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"DECIMAL({self.width},{self.scale})" if self.name == "DECIMAL" else self.name


@dataclass(frozen=True)
class Node:
    """A part of a bound expression: a function, an operator, "column", "constant", "cast", "try_cast" or "case".

    `value` is the index of a column, or the value of a constant. The parts of a "case" are condition, result, condition, result, ...
    and the result that is left.
    """

    operation: str
    type: SqlType
    parts: tuple["Node", ...] = ()
    value: Any = None


Maker: TypeAlias = Callable[[Node, tuple[Compiled, ...]], Compiled | None]
"""Compiles a node, whose parts are compiled already; None: not for these types."""


class EngineNeeded(Exception):
    """The value is not known here: it is an error of the engine, or one of the rare values for which the engine was not matched."""


class ZeroDivisor(EngineNeeded):
    """An integer or decimal is divided by zero, which is an error of the engine that TRY makes NULL."""


BOOLEAN = SqlType("BOOLEAN")
DOUBLE = SqlType("DOUBLE")
FLOAT = SqlType("FLOAT")
VARCHAR = SqlType("VARCHAR")
BLOB = SqlType("BLOB")
UUID = SqlType("UUID")
DATE = SqlType("DATE")
TIMESTAMP = SqlType("TIMESTAMP")
ZONED = SqlType(value_types.ZONED)
INTERVAL = SqlType("INTERVAL")
BIGINT = SqlType("BIGINT")

TIMESTAMPS = frozenset({TIMESTAMP, ZONED})
FLOATING = frozenset(map(SqlType, value_types.FLOATING))
INTEGER_RANGES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {name: value_types.integer_range(name) for name in value_types.INTEGERS if name != "UHUGEINT"}
)


def whole_range(sql_type: SqlType) -> tuple[int, int] | None:
    """The least and the greatest integer that a value of an integer or decimal type is computed as; None for other types."""
    if sql_type.name == "DECIMAL":
        return 1 - 10**sql_type.width, 10**sql_type.width - 1
    return INTEGER_RANGES.get(sql_type.name)


def strict_unary(part: Compiled, compute: Callable[[Any], Any]) -> Compiled:
    """`compute` of a part; NULL of NULL. It has no NULL of other values."""
    evaluate_part = part.by_row

    def evaluate(row: Row) -> Any:
        value = evaluate_part(row)
        return None if value is None else compute(value)

    return Compiled(evaluate, map_columns([part], compute))


def strict_binary(
    parts: tuple[Compiled, ...], compute: Callable[[Any, Any], Any], ordered: Callable[[Any, Any], Any] | None = None
) -> Compiled:
    """`compute` of two parts; NULL if one is NULL. Both are evaluated, as in the engine: either may fail. It has no NULL of other values.

    `ordered` is the same for values that are not NaN; by default `compute`.
    """
    first, second = parts
    evaluate_first, evaluate_second = first.by_row, second.by_row

    def evaluate(row: Row) -> Any:
        left, right = evaluate_first(row), evaluate_second(row)
        return None if left is None or right is None else compute(left, right)

    return Compiled(evaluate, map_columns(parts, ordered if ordered is not None and first.ordered and second.ordered else compute))


def map_columns(parts: Sequence[Compiled], compute: Callable[..., Any]) -> ByColumn | None:
    """`compute` of the values of the parts, row by row; None if one of them is not computed by columns."""
    by_column = [part.by_column for part in parts if part.by_column is not None]
    if len(by_column) != len(parts):
        return None
    return lambda columns, rows: map(compute, *[values_of(columns, rows) for values_of in by_column])


def types_of(node: Node) -> list[SqlType]:
    """The types of a node's parts."""
    return [part.type for part in node.parts]
