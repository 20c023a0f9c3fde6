"""Convert callers' rows to Arrow tables: pandas and polars frames, Arrow data, lists of dicts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore.errors import RequestError, TypeMismatch
from featurestore.values.coercion import beyond_64_bits, quote_value, too_wide

QUERY_WORDS = ("select", "with", "from")
SPINE = "the spine"
MEMORY = "a list of dicts, a pandas or polars DataFrame, an Arrow table or reader"
PLACES = ", a path or glob of Parquet or CSV files, 'iceberg:namespace.table[@snapshot]', or a SELECT over Iceberg tables"

_UNFIT = (pa.ArrowException, OverflowError, UnicodeError)
"""What Arrow raises for values without a common type, and for values out of range of every type."""


def to_arrow_table(rows: Any, label: str = SPINE) -> pa.Table | None:
    """The rows of a pandas or polars frame, an Arrow table, batch or reader, or a list of dicts.

    None for a text or path, which names rows that lie elsewhere. Raises: TypeMismatch for a column of mixed types;
    RequestError for anything else; both speak of `label`.
    """
    if isinstance(rows, str | os.PathLike):
        return None
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all()
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    library = type(rows).__module__.partition(".")[0]
    try:
        if library == "pandas":
            _refuse_repeated(list(rows.columns), label)
            return pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
        if library == "polars":
            return _from_polars(rows.collect() if hasattr(rows, "collect") else rows, label)
        if isinstance(rows, list):
            return pa.table({name: pa.array(values) for name, values in rows_to_columns(rows, label).items()})
    except _UNFIT as error:
        columns = rows_to_columns(rows, label) if isinstance(rows, list) else {name: rows[name] for name in rows.columns}
        raise _unfit(columns, label, str(error)) from error
    raise RequestError(f"{label} is of type {type(rows).__name__}; give {MEMORY}{PLACES if label == SPINE else ''}")


def _from_polars(frame: Any, label: str) -> pa.Table:
    """Convert a polars frame. Object columns are refused: polars would export memory addresses."""
    for name, dtype in frame.schema.items():
        if str(dtype) == "Object":
            raise TypeMismatch(f"{label}'s column {name!r} holds Python objects (Object in polars); cast it to a type, or leave it out")
    rows: pa.Table = frame.to_arrow()
    return rows


def _refuse_repeated(names: Sequence[Any], label: str) -> None:
    """Refuse repeated column names, which pandas allows: it is unknown which column is meant."""
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise RequestError(
            f"{label} has more than one column called {', '.join(map(repr, repeated))}; rename or drop all but one", columns=repeated
        )


def rows_to_columns(rows: list[Any], label: str = SPINE) -> dict[str, list[Any]]:
    """Convert rows to columns; missing values are None. Raises: RequestError for a row that is not a dict."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise RequestError(f"row {number} of {label} is {type(row).__name__}, but must be a dict: each column with its value")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _unfit(columns: Mapping[str, Any], label: str, reason: str) -> TypeMismatch:
    """The error of the first column that Arrow refuses: an integer in it is too large, or its values have no common type."""
    name = next((name for name, values in columns.items() if not _has_type(values)), None)
    numbers = enumerate(columns[name]) if name is not None else ()
    large = next(((row, value) for row, value in numbers if isinstance(value, int) and beyond_64_bits(value)), None)
    if name is None or large is None:
        column = "of some name" if name is None else repr(name[:100])
        return TypeMismatch(f"{label}'s column {column} mixes types, or holds a value that cannot be stored", reason=reason)
    row, number = large
    return TypeMismatch(f"row {row} of {label}, column {name[:100]!r}: {quote_value(number)} {too_wide('BIGINT')}", field=name[:100])


def _has_type(values: Any) -> bool:
    """Whether the values have a common Arrow type."""
    try:
        pa.array(values)
    except _UNFIT:
        return False
    return True


def is_query(text: str) -> bool:
    """Whether a text is SQL, not a path."""
    return text.strip()[:7].lower().startswith(QUERY_WORDS)
