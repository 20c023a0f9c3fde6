"""Row functions: the expressions of a SELECT compiled to Python, for few rows, where starting the engine takes longer than computing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.compiler.scalar import (
    arithmetic,
    comparison,
    conditional,
    numeric_functions,
    text,
    time_arithmetic,
    time_parts,
)
from featurestore.compiler.scalar.bound_plan import UnknownPlan, read_plan
from featurestore.compiler.scalar.casts import compile_cast
from featurestore.compiler.scalar.nodes import Compiled, EngineNeeded, Maker, Node, SqlType
from featurestore.compiler.scalar.values import Conversion, column_reader, result_writer

_MAKERS: Sequence[Mapping[str, Maker]] = (
    conditional.MAKERS,
    comparison.MAKERS,
    arithmetic.MAKERS,
    numeric_functions.MAKERS,
    text.MAKERS,
    time_parts.MAKERS,
    time_arithmetic.MAKERS,
    {"cast": compile_cast, "try_cast": compile_cast},
)


@dataclass(frozen=True)
class RowFunction:
    """Expressions over the values of some columns. `nodes` is their size, to which the time for one row is proportional."""

    types: tuple[str, ...]
    nodes: int
    _readers: tuple[Conversion, ...]
    _compiled: tuple[Compiled, ...]
    _writers: tuple[Conversion, ...]

    def evaluate(self, columns: Sequence[Sequence[Any]], rows: int) -> list[list[Any]] | None:
        """The values of each expression, one for each row; None if the engine has to compute them: some values may be errors."""
        try:
            read = [_convert_all(reader, column) for reader, column in zip(self._readers, columns, strict=True)]
            inputs = list(zip(*read, strict=True)) if read else [()] * rows
            return [
                _convert_all(writer, [compiled(row) for row in inputs])
                for compiled, writer in zip(self._compiled, self._writers, strict=True)
            ]
        except EngineNeeded:
            return None


def compile_rows(document: str, columns: Mapping[str, str]) -> RowFunction | None:
    """Compile the serialized plan of a SELECT over `columns` (name -> DuckDB type).

    None if an expression, or the type of a column, has no counterpart here that was proven to compute the same bits as the engine.
    """
    try:
        nodes = read_plan(document, list(columns))
    except UnknownPlan:
        return None
    readers = [column_reader(_column_type(declared)) for declared in columns.values()]
    compiled = [_compile(node) for node in nodes]
    writers = [result_writer(node.type) for node in nodes]
    if None in readers or None in compiled or None in writers:
        return None
    return RowFunction(
        types=tuple(str(node.type) for node in nodes),
        nodes=sum(map(_size, nodes)),
        _readers=tuple(filter(None, readers)),
        _compiled=tuple(filter(None, compiled)),
        _writers=tuple(filter(None, writers)),
    )


def _compile(node: Node) -> Compiled | None:
    index = node.value
    if node.operation == "column":
        return lambda row: row[index]
    if node.operation == "constant":
        return _constant(node)
    parts = [_compile(part) for part in node.parts]
    if None in parts:
        return None
    known = tuple(filter(None, parts))
    return next(
        (compiled for makers in _MAKERS if node.operation in makers and (compiled := makers[node.operation](node, known)) is not None),
        None,
    )


def _constant(node: Node) -> Compiled | None:
    value = node.value
    return lambda row: value


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.parts))


def _column_type(declared: str) -> SqlType:
    name, _, details = declared.partition("(")
    if name != "DECIMAL":
        return SqlType(declared)
    width, _, scale = details.removesuffix(")").partition(",")
    return SqlType(name, int(width), int(scale))


def _convert_all(convert: Conversion, values: Sequence[Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]
