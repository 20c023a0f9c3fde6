"""The types of Python literals: one kind for all values of a column, or an error that names the column."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from featurestore.errors import TypeMismatch

ZONED = "TIMESTAMP WITH TIME ZONE"
_KINDS: dict[type[Any], str] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    str: "VARCHAR",
    bytes: "BLOB",
    UUID: "UUID",
    date: "DATE",
}


def plain(value: Any) -> Any:
    """A numpy scalar or a pandas timestamp as Python's own value; anything else as it is."""
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def kind_of(values: Iterable[Any], what: str) -> str | None:
    """The DuckDB type that holds all values of the column that `what` names; None when it is all NULL, or structs.

    Raises: TypeMismatch when values are of kinds that do not go together.
    """
    present = [value for value in values if value is not None]
    kinds = {_kind(value, what) for value in present}
    if kinds == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    if len(kinds) > 1:
        raise TypeMismatch(
            f"{what} mixes {' and '.join(sorted(kinds))}; give every value the same type, or say the column's type in schema=", field=what
        )
    kind = kinds.pop() if kinds else None
    if kind == "DECIMAL":
        return _decimal(present)
    if kind == "list":
        element = kind_of((item for value in present for item in value), what)
        return f"{element}[]" if element else None
    return None if kind == "struct" else kind


def _kind(value: Any, what: str) -> str:
    if isinstance(value, datetime):
        return ZONED if value.tzinfo else "TIMESTAMP"
    if isinstance(value, Decimal):
        return "DECIMAL"
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, dict):
        return "struct"
    if type(value) not in _KINDS:
        raise TypeMismatch(f"{what} holds {value!r}, a {type(value).__name__}, which no table can hold", field=what)
    return _KINDS[type(value)]


def _decimal(values: list[Decimal]) -> str:
    """The narrowest DECIMAL with room for every value."""
    parts = [value.as_tuple() for value in values]
    scale = max(max(-int(part.exponent), 0) for part in parts)
    whole = max(max(len(part.digits) + int(part.exponent), 0) for part in parts)
    return f"DECIMAL({max(whole + scale, 1)},{scale})"
