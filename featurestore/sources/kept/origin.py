"""The columns of a source of which the store keeps a copy, as they are where its rows come from: no row is copied."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from featurestore.dsl.source import Source
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import copied_columns, find_copy
from featurestore.sources.kept.pushed_table import table_columns


@dataclass(frozen=True)
class Origin:
    """The columns that the copy has after the next run, with the types in which it stores them.

    `files`, `bytes` and `rows` are what the whole origin has; None if that cannot be told without reading rows.
    """

    schema: pa.Schema
    files: int | None = None
    bytes: int | None = None
    rows: int | None = None


def open_origin(runtime: Runtime, source: Source) -> Origin:
    """Look at the place that rows are copied from.

    Raises: NotFound; RequestError; TypeMismatch; NotReady; MissingExtra; Conflict for a pushed source with a column of another type.
    """
    copy = find_copy(runtime, source)
    if source.pushed:
        return Origin(table_columns(source, copy))
    known = None if copy is None else copied_columns(copy)
    properties: Mapping[str, str] = {} if copy is None else copy.table.properties
    if source.url is not None:
        # Imported here: drivers of databases are an extra.
        from featurestore.sources.kept.database_origin import database_origin  # noqa: PLC0415

        return Origin(database_origin(runtime, source, known))
    from featurestore.sources.kept.file_origin import file_origin  # noqa: PLC0415 - files are read by few sources

    schema, states = file_origin(runtime, source, known, properties)
    return Origin(schema, len(states), sum(int(state.partition(":")[0]) for state in states.values()))
