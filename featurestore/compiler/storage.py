"""The types that feature tables can hold, and what every other type becomes there."""

from collections.abc import Sequence

from featurestore.compiler import nanoseconds
from featurestore.compiler.expressions import SqlProblem, quoted

_KEPT = frozenset("BOOLEAN INTEGER BIGINT FLOAT DOUBLE VARCHAR DATE UUID BLOB".split()) | {"TIMESTAMP WITH TIME ZONE"}
_BECOMES = {
    "TINYINT": "INTEGER",
    "SMALLINT": "INTEGER",
    "UTINYINT": "INTEGER",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "HUGEINT": "BIGINT",
    "UHUGEINT": "BIGINT",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_S": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_MS": "TIMESTAMP WITH TIME ZONE",
}


def base_type(kind: str) -> str:
    """The type of the values in lists of lists of them, or the type itself."""
    return kind.rstrip("[]")


def storage_type(kind: str) -> str:
    """The type a column of DuckDB type `kind` has in a feature table. Raises: SqlProblem when there is none."""
    if kind in _KEPT or kind.startswith("DECIMAL("):
        return kind
    if kind in _BECOMES:
        return _BECOMES[kind]
    if kind in nanoseconds.TYPES:
        raise SqlProblem(f"has type {kind}, and a feature table holds microseconds; CAST it to TIMESTAMP")
    if kind.startswith("ENUM("):
        return "VARCHAR"
    if kind.endswith("[]"):
        return storage_type(kind[:-2]) + "[]"
    raise SqlProblem(
        f"has type {kind}, which a feature table cannot hold; CAST it to a number, a string, a date, a timestamp or a list of those"
    )


def stored(columns: dict[str, str], relation: str) -> str:
    """A SELECT of `columns` (name -> type) of a relation, each cast to its type."""
    return f"SELECT {', '.join(f'CAST({quoted(name)} AS {kind}) AS {quoted(name)}' for name, kind in columns.items())} FROM {relation}"


def order(keys: Sequence[str], *more: str) -> str:
    """How the rows of a feature table lie in its files: day by day, in a day by keys, feature_timestamp and the columns `more`.

    A row group then has the rows of a few days, and the rows of a key lie in the order of their times.
    """
    return ", ".join(["CAST(feature_timestamp AS DATE)", *map(quoted, [*keys, "feature_timestamp", *more])])
