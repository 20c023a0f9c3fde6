"""Refuse the few DuckDB types that Arrow would silently convert to other values."""

from collections.abc import Iterable, Iterator

from duckdb.sqltypes import DuckDBPyType

from featurestore.errors import TypeMismatch

_CAST_TO = {
    # The upper half of its values would become negative.
    "uhugeint": "DECIMAL(38,0)",
    # Arrow gets DuckDB's internal representation, which nothing else can read.
    "bignum": "DECIMAL(38,0), DOUBLE or VARCHAR",
    "bit": "VARCHAR",
    # Its offset would be lost.
    "time with time zone": "TIME or VARCHAR",
}


def refuse_inexact_types(names: Iterable[str], types: Iterable[DuckDBPyType]) -> None:
    """Raise TypeMismatch naming the first column with a type, also inside lists and structs, that Arrow cannot carry exactly."""
    for name, sql_type in zip(names, types, strict=True):
        for nested in _nested_types(sql_type):
            if nested.id in _CAST_TO:
                raise TypeMismatch(
                    f"column '{name}' holds {nested}, which cannot be handed on exactly; CAST it to {_CAST_TO[nested.id]}", field=name
                )


def _nested_types(sql_type: DuckDBPyType) -> Iterator[DuckDBPyType]:
    yield sql_type
    if sql_type.id in ("list", "array", "struct", "map", "union"):
        for _, child in sql_type.children:
            # The size of an array is one of its children.
            if isinstance(child, DuckDBPyType):
                yield from _nested_types(child)
