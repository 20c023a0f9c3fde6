"""Row functions: the expressions of a SELECT compiled to Python, for few rows, where starting the engine takes longer than computing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, repeat
from operator import itemgetter, not_
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
from featurestore.compiler.scalar.nodes import Compiled, EngineNeeded, Maker, Node, Row, SqlType
from featurestore.compiler.scalar.values import ColumnReader, Conversion, as_is, column_reader, plain_reader, result_writer

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


PLAIN_ROWS = 3
"""From this number of rows, whole columns are computed faster."""


@dataclass(frozen=True)
class RowFunction:
    """Expressions over the values of some columns. `nodes` is their size, to which the time for one row is proportional."""

    types: tuple[str, ...]
    nodes: int
    _readers: tuple[Conversion, ...]
    _plain_readers: tuple[ColumnReader, ...]
    _compiled: tuple[Compiled, ...]
    _writers: tuple[Conversion, ...]

    def evaluate(self, columns: Sequence[Sequence[Any]], rows: int) -> list[list[Any]] | None:
        """The values of each expression, one for each row; None if the engine has to compute them: some values may be errors."""
        try:
            if rows == 1:
                return self._evaluate_row(columns)
            computed = self._evaluate_many(columns, rows) if rows >= PLAIN_ROWS else None
            return self._evaluate_rows(columns, rows) if computed is None else computed
        except EngineNeeded:
            return None

    def _evaluate_row(self, columns: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """As `evaluate`, of one row, which most lookups have. Raises: EngineNeeded."""
        row = tuple([None if (value := column[0]) is None else read(value) for read, column in zip(self._readers, columns, strict=True)])
        values = zip(self._writers, [compiled.by_row(row) for compiled in self._compiled], strict=True)
        return [[None if value is None else write(value)] for write, value in values]

    def _evaluate_rows(self, columns: Sequence[Sequence[Any]], rows: int) -> list[list[Any]]:
        """As `evaluate`, row by row. Raises: EngineNeeded."""
        read = [_convert_all(reader, column) for reader, column in zip(self._readers, columns, strict=True)]
        inputs: list[Row] = list(zip(*read, strict=True)) if read else [()] * rows
        return self._write([[compiled.by_row(row) for row in inputs] for compiled in self._compiled])

    def _evaluate_many(self, columns: Sequence[Sequence[Any]], rows: int) -> list[list[Any]] | None:
        """As `evaluate`, of whole columns where there is no NULL; None if that is not known to give the same. Raises: EngineNeeded."""
        read = self._read_plain(columns)
        if read is not None:
            return self._write([_compute(compiled, read, rows) for compiled in self._compiled])
        plain = [None not in row for row in zip(*columns, strict=True)]
        count = plain.count(True)
        if not PLAIN_ROWS <= count < rows:
            return None
        computed = self._evaluate_many([list(compress(column, plain)) for column in columns], count)
        if computed is None:
            return None
        others = self._evaluate_rows([list(compress(column, map(not_, plain))) for column in columns], rows - count)
        return [_merge(plain, *pair) for pair in zip(computed, others, strict=True)]

    def _read_plain(self, columns: Sequence[Sequence[Any]]) -> list[Sequence[Any]] | None:
        """The columns as they are computed with; None if one has a NULL or a NaN. Raises: EngineNeeded."""
        read: list[Sequence[Any]] = []
        for reader, column in zip(self._plain_readers, columns, strict=True):
            plain = reader(column)
            if plain is None:
                return None
            read.append(plain)
        return read

    def _write(self, computed: list[list[Any]]) -> list[list[Any]]:
        return [column if writer is as_is else _convert_all(writer, column) for writer, column in zip(self._writers, computed, strict=True)]


def _compute(compiled: Compiled, columns: Sequence[Sequence[Any]], rows: int) -> list[Any]:
    """The values of an expression from columns without NULL. Raises: EngineNeeded."""
    if compiled.by_column is not None:
        try:
            return list(compiled.by_column(columns, rows))
        except EngineNeeded:
            # Perhaps it is that of one row, which TRY makes NULL there.
            pass
    return [compiled.by_row(row) for row in (zip(*columns, strict=True) if columns else repeat((), rows))]


def _merge(first: Sequence[bool], values: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """The values at the places where `first` is True, and the others at the rest."""
    rest, more = iter(values), iter(others)
    return [next(rest) if is_first else next(more) for is_first in first]


def compile_rows(document: str, columns: Mapping[str, str]) -> RowFunction | None:
    """Compile the serialized plan of a SELECT over `columns` (name -> DuckDB type).

    None if an expression, or the type of a column, has no counterpart here that was proven to compute the same bits as the engine.
    """
    try:
        nodes = list(map(_fold, read_plan(document, list(columns))))
    except UnknownPlan:
        return None
    column_types = [_column_type(declared) for declared in columns.values()]
    readers = [column_reader(sql_type) for sql_type in column_types]
    compiled = [_compile(node) for node in nodes]
    writers = [result_writer(node.type) for node in nodes]
    if None in readers or None in compiled or None in writers:
        return None
    return RowFunction(
        types=tuple(str(node.type) for node in nodes),
        nodes=sum(map(_size, nodes)),
        _readers=tuple(filter(None, readers)),
        _plain_readers=tuple(plain_reader(sql_type, reader) for sql_type, reader in zip(column_types, filter(None, readers), strict=True)),
        _compiled=tuple(filter(None, compiled)),
        _writers=tuple(filter(None, writers)),
    )


def _fold(node: Node) -> Node:
    """The node with constants in place of parts that read no column, such as casts of constants."""
    folded = replace(node, parts=tuple(map(_fold, node.parts)))
    if not folded.parts or any(part.operation != "constant" for part in folded.parts) or (compiled := _compile(folded)) is None:
        return folded
    try:
        return Node("constant", node.type, value=compiled.by_row(()))
    except EngineNeeded:
        # It fails in each row, if it is evaluated there.
        return folded


def _compile(node: Node) -> Compiled | None:
    index = node.value
    if node.operation == "column":
        return Compiled(itemgetter(index), lambda columns, rows: columns[index], ordered=True)
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
    by_column = None if value is None else lambda columns, rows: repeat(value, rows)
    return Compiled(lambda row: value, by_column, ordered=value == value)


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
