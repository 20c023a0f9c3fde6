"""Shared helpers of these tests: rows, readers and file listings."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.catalog import Catalog
from featurestore.lakehouse.table import Table

EVENTS = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us", "UTC")), ("v", pa.string())])


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def us(text: str) -> int:
    """A moment in microseconds since the epoch."""
    return int(at(text).timestamp() * 1_000_000)


def events(*rows: tuple[int, str, str]) -> pa.Table:
    """A table of (k, t, v)."""
    return pa.Table.from_pylist([{"k": k, "t": at(t), "v": v} for k, t, v in rows], schema=EVENTS)


def reader(rows: dict[str, Any] | pa.Table, size: int | None = None) -> pa.RecordBatchReader:
    """A stream of these rows in batches of `size`."""
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    return pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(max_chunksize=size)))


def replace_rows(catalog: Catalog, name: str, rows: pa.RecordBatchReader, **noted: Any) -> int:
    """Make these rows the content of a table, which is made if it is not there; see `writes.replace_rows`."""
    return writes.replace_rows(tables.create_if_absent(catalog, name, rows.schema), rows, **noted)


def by_id(found: Any) -> list[dict[str, Any]]:
    """The rows of a scan, files read as an engine does: by DuckDB through field ids."""
    if not isinstance(found, IcebergFiles):
        return list(found.read_all().to_pylist())
    if not found.paths:
        return []
    fields = ", ".join(f"{c.id}: {{name: {_text(c.name)}, type: {_text(c.sql_type)}, default_value: NULL}}" for c in found.columns)
    paths = ", ".join(_text(path) for path in found.paths)
    with duckdb.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        return list(connection.sql(f"SELECT * FROM read_parquet([{paths}], schema = MAP {{{fields}}})").to_arrow_table().to_pylist())


def files(table: Table, folder: str = "data") -> set[str]:
    """The names of the files in one of a local table's folders."""
    home = Path(table.iceberg.location().removeprefix("file://")) / folder
    return {path.name for path in home.rglob("*") if path.is_file()}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
