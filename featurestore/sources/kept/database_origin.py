"""The columns of a table in a database of which the store keeps a copy."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from featurestore.databases.address import database_address
from featurestore.databases.postgres import PostgresTable, open_postgres
from featurestore.dsl.source import Source
from featurestore.errors import NotFound, RequestError
from featurestore.records.runtime import Runtime
from featurestore.redaction import without_secrets
from featurestore.sources.kept.copied_table import stored_schema


@contextmanager
def open_table(runtime: Runtime, source: Source) -> Iterator[PostgresTable]:
    """The table of a source, in a transaction that sees one state of it. Raises: RequestError; NotReady; MissingExtra."""
    settings = runtime.settings
    address = database_address(str(source.url), settings.databases, runtime.source_locations)
    names = str(source.table).split(".")
    with open_postgres(address, without_secrets(str(source.url)), names, source.zone, settings.job_seconds) as table:
        yield table


def database_origin(runtime: Runtime, source: Source, known: pa.Schema | None) -> pa.Schema:
    """The columns that the copy has after the next run; `known` are those that it has. Raises: as `open_table` and `table_columns`."""
    with open_table(runtime, source) as table:
        return table_columns(source, table, known)


def table_columns(source: Source, table: PostgresTable, known: pa.Schema | None) -> pa.Schema:
    """The columns of a table as a copy stores them, in the order of the copy.

    Raises: NotFound for a table or column that is not there; RequestError for a watermark that does not grow, a time without a zone, and
    a column that was dropped or has another type since the copy was made.
    """
    found = stored_schema(table.columns())
    for name in filter(None, (source.watermark, source.id)):
        if name not in found.names:
            raise NotFound("column", name, found.names, table.name)
    _refuse_unzoned(source, found, table.name)
    watermark = found.field(str(source.watermark)).type
    if not (pa.types.is_integer(watermark) or pa.types.is_timestamp(watermark) or pa.types.is_date(watermark)):
        raise RequestError(
            f"watermark='{source.watermark}' of {table.name} is {watermark}; name a column of times or whole numbers that grows with"
            " each new or changed row",
            field="watermark",
        )
    if source.overlap is not None and not pa.types.is_timestamp(watermark):
        raise RequestError(f"overlap= is a duration, and watermark='{source.watermark}' of {table.name} is {watermark}", field="overlap")
    if source.id is not None and not _identifies(found.field(source.id).type):
        raise RequestError(
            f"id='{source.id}' of {table.name} is {found.field(source.id).type}; name a column of whole numbers, text or UUIDs", field="id"
        )
    for field in known or ():
        _refuse_changed(source, field, found, table.name)
    before = [] if known is None else known.names
    return pa.schema([*(found.field(name) for name in before), *(field for field in found if field.name not in before)])


def _refuse_unzoned(source: Source, columns: pa.Schema, table: str) -> None:
    for role in ("timestamp", "created", "watermark"):
        name = getattr(source, role)
        if name in columns.names and (found := columns.field(name).type) == pa.timestamp("us"):
            raise RequestError(
                f"{role}='{name}' of {table} is {found} without a zone, so it does not say which moment it is; declare that of the table's"
                " times, as in zone='UTC' or zone='Europe/Berlin'",
                field=role,
            )


def _refuse_changed(source: Source, field: pa.Field, found: pa.Schema, table: str) -> None:
    again = "give the source another name, which makes a new copy"
    if field.name not in found.names:
        raise RequestError(f"column '{field.name}' of {table} was dropped or renamed since it was copied; give it back, or {again}")
    if found.field(field.name).type != field.type:
        now = found.field(field.name).type
        raise RequestError(
            f"column '{field.name}' of {table} is {now} now, and its copy has {field.type}; give it back its type, or {again}",
            column=field.name,
        )


def _identifies(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_string(arrow_type) or isinstance(arrow_type, pa.UuidType))
