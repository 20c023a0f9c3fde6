"""Read a table of PostgreSQL in one transaction, which sees one state of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.compiler.database_rows import (
    DIMENSIONS,
    POSTGRES_COLUMNS,
    POSTGRES_NOW,
    POSTGRES_SESSION,
    POSTGRES_TIMEOUT,
    DatabaseColumn,
    postgres_rows,
)
from featurestore.errors import FeatureStoreError, MissingExtra, NotFound, NotReady, RequestError, Timeout
from featurestore.masking import Secret

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

_REASON_LENGTH = 300
_BATCH_BYTES = 8 << 20
_SCALARS = {
    "bool": pa.bool_(),
    "int2": pa.int32(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
    "bytea": pa.binary(),
    "uuid": pa.uuid(),
}
_LISTED = ("bool", "int2", "int4", "int8", "float4", "float8")
"""Elements of arrays that are not read as text."""


class PostgresTable:
    """A table, given as its name, or as its schema and name, in an open transaction."""

    def __init__(self, connection: "Connection", database: str, table: Sequence[str], zone: str | None) -> None:
        """`database` is what messages call the database, and `zone` that of times without one."""
        self._connection, self._database, self._table, self._zone = connection, database, table, zone
        self._columns: dict[str, DatabaseColumn] = {}

    @property
    def name(self) -> str:
        """What messages call the table."""
        return f"{'.'.join(self._table)} of database {self._database}"

    def columns(self) -> pa.Schema:
        """The columns, with Arrow types that have all of their values; text where there is no other.

        Raises: NotFound if there is no such table; RequestError; NotReady.
        """
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in self._table)
        fields: list[pa.Field] = []
        for row in self._query(POSTGRES_COLUMNS, quoted).to_pylist():
            column = DatabaseColumn(row["name"], row["type_name"], self._zone if row["type_name"] == "timestamp" else None)
            self._columns[column.name] = column
            fields.append(pa.field(column.name, _arrow_type(column, int(row["modifier"]))))
        if not fields:
            raise NotFound("table", ".".join(self._table), None, f"database {self._database}")
        return pa.schema(fields)

    def now(self) -> datetime:
        """The time at which the transaction began, by the clock of the database."""
        moment: datetime = self._query(POSTGRES_NOW).column(0)[0].as_py()
        return moment

    def rows(self, watermark: str, since: str | None, until: str | None) -> Iterator[pa.RecordBatch]:
        """The rows with the columns of `columns`, ordered by the watermark, which is not NULL and within these bounds (texts, inclusive).

        Types are those that the driver gives; `convert` makes those of `columns` of them. Raises: as `columns`; Timeout.
        """
        text = postgres_rows(self._table, self._columns.values(), self._columns[watermark], since, until)
        with (
            self._translated(),
            self._connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.batch_size_hint_bytes": _BATCH_BYTES}) as cursor,
        ):
            cursor.execute(text)
            yield from cursor.fetch_record_batch()

    def _query(self, text: str, *values: str) -> pa.Table:
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(text, values or None)
            return cursor.fetch_arrow_table()

    def _translated(self) -> Any:
        return _translating(self.name)


@contextmanager
def open_postgres(address: Secret, database: str, table: Sequence[str], zone: str | None, seconds: float) -> Iterator[PostgresTable]:
    """Connect, and begin a transaction that only reads and sees one state; each of its queries may take so many seconds.

    `table` is its name, or its schema and name. Raises: MissingExtra; NotReady if there is no connection.
    """
    try:
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("adbc-driver-postgresql", "databases", f"database {database}") from error
    try:
        connection = dbapi.connect(address.reveal())
    except dbapi.Error as error:
        raise NotReady(
            f"the database {database} cannot be reached; check its address, user and password in the setting databases, and that it runs",
            reason=str(error)[:_REASON_LENGTH],
        ) from error
    with connection:
        opened = PostgresTable(connection, database, table, zone)
        with opened._translated(), connection.cursor() as cursor:
            for statement in POSTGRES_SESSION:
                cursor.execute(statement)
        opened._query(POSTGRES_TIMEOUT, str(int(seconds * 1000)))
        yield opened


def convert(batch: pa.RecordBatch, schema: pa.Schema, table: str) -> pa.RecordBatch:
    """A batch of `rows` with the columns and types of a schema, whose UUIDs are still text.

    Raises: RequestError naming a column with a value that its type does not have, such as NaN in a decimal, or infinity in a time.
    """
    columns = []
    for field in schema:
        values = batch.column(field.name)
        if pa.types.is_decimal(field.type):
            try:
                values = values.cast(field.type)
            except pa.ArrowInvalid as error:
                raise RequestError(
                    f"column '{field.name}' of {table} has NaN or infinity, which no decimal has; read the table through a view that casts"
                    " the column to double precision or leaves such rows out",
                    column=field.name,
                ) from error
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, schema.names)


def _arrow_type(column: DatabaseColumn, modifier: int) -> pa.DataType:
    name = column.type_name
    if name == "timestamp" and column.zone is not None:
        return _SCALARS["timestamptz"]
    if name == "numeric" and modifier >= 4:
        precision, scale = (modifier - 4) >> 16 & 0xFFFF, ((modifier - 4 & 0x7FF) ^ 1024) - 1024
        return pa.decimal128(precision, scale) if 0 <= scale <= precision <= 38 else pa.string()
    if name.startswith("_"):
        return pa.list_(_SCALARS[name[1:]] if name[1:] in _LISTED else pa.string())
    return _SCALARS.get(name, pa.string())


@contextmanager
def _translating(table: str) -> Iterator[None]:
    """Translate errors of the driver into ours."""
    from adbc_driver_manager import dbapi  # noqa: PLC0415 - it is there if a table is open

    try:
        yield
    except dbapi.Error as error:
        raise _store_error(table, error) from error
    except OSError as error:
        # Streams of Arrow raise what the driver says in the middle of them as errors of input.
        raise _store_error(table, error) from error


def _store_error(table: str, error: Exception) -> FeatureStoreError:
    text = str(error)
    state = getattr(error, "sqlstate", None) or next(iter(text.rpartition("SQLSTATE: ")[2].split()), "")[:5]
    reason = text[:_REASON_LENGTH]
    if state == "42501":
        return RequestError(f"the user of the database may not read {table}; let its owner grant it the right to", reason=reason)
    if state in ("42P01", "3F000", "42703"):
        return RequestError(f"{table}, or a column of it, was dropped or renamed meanwhile; run the same again", reason=reason)
    if state == "57014" or "canceling statement" in text:
        advice = "index its watermark column"
        return Timeout(f"a query of {table} took longer than the setting job_seconds, or was canceled; {advice}", reason=reason)
    if DIMENSIONS in text:
        advice = "read the table through a view without them"
        return RequestError(f"a column of {table} has arrays of several dimensions; {advice}", reason=reason)
    return NotReady(f"{table} could not be read to the end; run the same again, which continues after what was copied", reason=reason)
