"""Pushed rows, converted to the columns of their source and checked: every error names the row, counted from 0, and the column."""

from typing import Any

import pyarrow as pa

from featurestore.dsl.source import ACKNOWLEDGED, Source
from featurestore.errors import RequestError, TooLarge, near
from featurestore.lakehouse.casting import cast_batch
from featurestore.sources.kept.pushed_table import column_types, pushed_columns
from featurestore.spines.given_columns import FRAME, checked_times, convert_column, given_columns, without_null
from featurestore.values.coercion import quote_value

MOST_ROWS = 100_000
MOST_BYTES = 32 << 20
"""Most rows, and bytes of them in Arrow, of one push."""


def read_pushed(rows: Any, source: Source, now: int, *, bounded: bool = True) -> pa.Table:
    """The rows of a frame, Arrow data or a list of dicts, with the columns of the source's schema that they have; `bounded`: as many as one
    push may have.

    Raises: RequestError for an unknown or repeated column, a NULL time or id, and a time after `now` (microseconds); TypeMismatch for a
    value that does not fit its column; TooLarge.
    """
    types = column_types(source)
    needed = [source.timestamp, *([] if source.id is None else [source.id])]
    if isinstance(rows, list) and bounded:
        _refuse_many(len(rows))
    read = given_columns(rows, needed)
    for name in read:
        if name not in types:
            _refuse_unknown(name, source)
    for name, role in zip(needed, ("timestamp", "id"), strict=False):
        if name not in read:
            raise RequestError(f"{FRAME} has no column '{name}', the {role} of source {source.name}{near(name, read)}", field=name)
    if bounded:
        _refuse_many(len(read[source.timestamp]))
    columns = {name: convert_column(read[name], name, types[name]) for name in types if name in read}
    checked_times(columns[source.timestamp], source.timestamp, now)
    if source.id is not None:
        without_null(columns[source.id], f"the id column '{source.id}'")
    given, schema = pa.table(columns), pushed_columns(source)
    present = pa.schema([field for field in schema if field.name in columns])
    typed = pa.Table.from_batches([cast_batch(batch, present, FRAME) for batch in given.to_batches()], present)
    if bounded and typed.nbytes > MOST_BYTES:
        raise TooLarge(f"{FRAME} has {typed.nbytes:,} bytes; a push has at most {MOST_BYTES:,}. Push it in parts")
    return typed


def _refuse_many(rows: int) -> None:
    if rows > MOST_ROWS:
        raise TooLarge(f"{FRAME} has {rows:,} rows; a push has at most {MOST_ROWS:,}. Push them in parts")


def _refuse_unknown(name: Any, source: Source) -> None:
    if not isinstance(name, str):
        raise RequestError(f"{FRAME} has a column called {quote_value(name)}; names must be text", field="frame")
    if name.lower() == ACKNOWLEDGED:
        raise RequestError(
            f"{FRAME} has a column '{name}', which the store sets itself when it acknowledges a row; leave it out", field=name
        )
    known = source.schema or {}
    raise RequestError(
        f"{FRAME} has a column '{name:.128}', which the schema of source {source.name} does not have{near(name, known)}", field=name
    )
