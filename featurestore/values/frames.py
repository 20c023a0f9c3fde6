"""Rows as callers have them, made Arrow tables: data frames of any library, lists of dicts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore.errors import RequestError, TypeMismatch

QUERY_WORDS = ("select", "with", "from")
SPINE = "the spine"
MEMORY = "a list of dicts, a pandas or polars DataFrame, an Arrow table or reader"
PLACES = ", a path or glob of Parquet or CSV files, 'iceberg:namespace.table[@snapshot]', or a SELECT over Iceberg tables"

_UNFIT = (pa.ArrowException, OverflowError, UnicodeError)
"""What Arrow raises for values that have no type in common, and for those that are beyond every type."""


def in_memory(given: Any, what: str = SPINE) -> pa.Table | None:
    """The rows of a pandas or polars frame, an Arrow table, batch or reader, or a list of dicts.

    None for a text or path, which names rows that lie elsewhere. Raises: TypeMismatch for a column of mixed types;
    RequestError for anything else; both speak of `what`.
    """
    if isinstance(given, str | os.PathLike):
        return None
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatchReader):
        return given.read_all()
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    kind = type(given).__module__.partition(".")[0]
    try:
        if kind == "pandas":
            _refuse_repeated(list(given.columns), what)
            return pa.Table.from_pandas(given, preserve_index=False).replace_schema_metadata(None)
        if kind == "polars":
            return _of_polars(given.collect() if hasattr(given, "collect") else given, what)
        if isinstance(given, list):
            return pa.table({name: pa.array(values) for name, values in columns_of(given, what).items()})
    except _UNFIT as error:
        columns = columns_of(given, what) if isinstance(given, list) else {name: given[name] for name in given.columns}
        raise TypeMismatch(
            f"{what}'s column {_mixed(columns)} mixes types, or holds a value that no column does", reason=str(error)
        ) from error
    raise RequestError(f"{what} is of type {type(given).__name__}; give {MEMORY}{PLACES if what == SPINE else ''}")


def _of_polars(frame: Any, what: str) -> pa.Table:
    """A polars frame in Arrow. Python objects would come as their addresses in memory."""
    for name, kind in frame.schema.items():
        if str(kind) == "Object":
            raise TypeMismatch(f"{what}'s column {name!r} holds Python objects (Object in polars); cast it to a type, or leave it out")
    rows: pa.Table = frame.to_arrow()
    return rows


def _refuse_repeated(names: Sequence[Any], what: str) -> None:
    """A frame of pandas may have several columns of one name; which of them is meant, nothing tells."""
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(
            f"{what} has more than one column called {', '.join(map(repr, twice))}; rename or drop all but one", columns=twice
        )


def columns_of(rows: list[Any], what: str = SPINE) -> dict[str, list[Any]]:
    """Rows as columns; a row without a value has None there. Raises: RequestError for what is no row."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise RequestError(f"row {number} of {what} is {type(row).__name__}, but must be a dict: each column with its value")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _mixed(columns: Mapping[str, Any]) -> str:
    """The first column that Arrow has no one type for."""
    for name, values in columns.items():
        try:
            pa.array(values)
        except _UNFIT:
            return repr(name[:100])
    return "of some name"


def is_query(text: str) -> bool:
    """Whether a text is meant as SQL, and not as a path."""
    return text.strip()[:7].lower().startswith(QUERY_WORDS)
