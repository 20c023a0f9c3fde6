"""Arrow carries what the engine computes, but for a few types whose values would arrive as others, without a word."""

from collections.abc import Iterable, Iterator

from duckdb.sqltypes import DuckDBPyType

from featurestore.errors import TypeMismatch

_INSTEAD = {
    # The upper half of its values would be negative.
    "uhugeint": "DECIMAL(38,0)",
    # What the engine keeps them in, which nobody else reads.
    "bignum": "DECIMAL(38,0), DOUBLE or VARCHAR",
    "bit": "VARCHAR",
    # Its offset would be gone.
    "time with time zone": "TIME or VARCHAR",
}


def refuse_uncarried(names: Iterable[str], types: Iterable[DuckDBPyType]) -> None:
    """Raises: TypeMismatch naming the first column with values, also inside lists and structs, that would not arrive as they are."""
    for name, kind in zip(names, types, strict=True):
        for inside in _parts(kind):
            if inside.id in _INSTEAD:
                raise TypeMismatch(
                    f"column '{name}' holds {inside}, which cannot be handed on exactly; CAST it to {_INSTEAD[inside.id]}", field=name
                )


def _parts(kind: DuckDBPyType) -> Iterator[DuckDBPyType]:
    yield kind
    if kind.id in ("list", "array", "struct", "map", "union"):
        for _, child in kind.children:
            # The size of an array is one of its children.
            if isinstance(child, DuckDBPyType):
                yield from _parts(child)
