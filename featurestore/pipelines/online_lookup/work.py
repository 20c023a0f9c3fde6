"""How much work expressions on the values of a lookup are, and the values as the evaluator takes them."""

from collections.abc import Sequence
from typing import Any

from featurestore.engine.session import ColumnValues

BRIEF = 4_000_000
"""Most work that is computed in this thread, in expression nodes times rows and characters; it takes at most about a second."""
CHARACTER = 20
"""Cost of one character of text, in rows of numbers. The worst case is casting text with a time zone to a time."""


def is_brief(work: int, inputs: ColumnValues, rows: int) -> bool:
    """Whether expressions with this work per row or character of their inputs take less than about a second."""
    return work * (rows + CHARACTER * _length(inputs)) <= BRIEF


def has_length(sql_type: str) -> bool:
    """Whether values of a type are longer or shorter."""
    return sql_type in ("VARCHAR", "BLOB", "BIT") or sql_type.endswith("]")


def _length(inputs: ColumnValues) -> int:
    """The number of characters, bytes and list items in columns."""
    return sum(sum(map(_size, values)) for sql_type, values in inputs.values() if has_length(sql_type))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(value) + sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def uuids_as_text(values: Sequence[Any], sql_type: str) -> Sequence[Any]:
    """The values of a column of this type with UUIDs as text, since DuckDB returns them as text."""
    return [None if value is None else str(value) for value in values] if sql_type == "UUID" else values
