"""Relations are what SQL reads from, described as data: files of a snapshot, or files on disk."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FieldId: TypeAlias = "int | tuple[int, FieldId]"
"""The Iceberg field id of a column; of a list its own and that of its elements."""


@dataclass(frozen=True)
class Column:
    """A column of an Iceberg snapshot: its field id, its name, and its DuckDB type."""

    id: int
    name: str
    sql_type: str


@dataclass(frozen=True)
class Extent:
    """The rows of a file or a part of it, and the first and last time of them, in microseconds."""

    rows: int
    lower_us: int
    upper_us: int


@dataclass(frozen=True)
class IcebergFiles:
    """Parquet files of one snapshot, to be read by field id.

    Rows outside the time range that was asked for may be in them. No paths: an empty relation of these columns.
    `rows` and `bytes` are the files' totals from Iceberg metadata.
    """

    paths: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class LocalFiles:
    """A Parquet or CSV file, or a glob of them, as a source names it."""

    path: str
    format: Literal["parquet", "csv"]
