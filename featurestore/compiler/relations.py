"""Relations are what SQL reads from, described as data: files of a snapshot, or files on disk."""

from dataclasses import dataclass
from typing import TypeAlias

from featurestore.dsl.csv import Csv

FILE = "__fs_file"
"""The column of a file's path."""

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
class FilePart:
    """Files that have the same columns.

    `select` gives each column's name and its SQL over the files' own columns and FILE, a file's path; empty, the columns are the
    files' own. `header`, of CSV files only, are the columns as they stand in the files: all of them text.
    """

    paths: tuple[str, ...]
    select: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalFiles:
    """Parquet files, or CSV files of a format, each by its own path. Every part selects the same columns, in one order."""

    parts: tuple[FilePart, ...]
    csv: Csv | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files."""
        return tuple(path for part in self.parts for path in part.paths)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that hold them."""
        return tuple(dict.fromkeys(path.rpartition("/")[0] or "." for path in self.paths))


def parquet_files(*paths: str) -> LocalFiles:
    """Parquet files that all have the same columns, as they are."""
    return LocalFiles((FilePart(paths),))
