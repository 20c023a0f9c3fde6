"""Relations that SQL reads from, described as data: files of a snapshot, or files on disk."""

from dataclasses import dataclass
from typing import TypeAlias

from featurestore.dsl.csv_format import Csv

FILE = "__fs_file"
"""The column with a file's path."""

FieldId: TypeAlias = "int | tuple[int, FieldId]"
"""The Iceberg field id of a column; for a list, its id and that of its elements."""


@dataclass(frozen=True)
class Handle:
    """A relation of a session, by its name there. A session returns it; a later relation of the same name replaces it."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Column:
    """A column of an Iceberg snapshot: its field id, its name, and its DuckDB type."""

    id: int
    name: str
    sql_type: str


@dataclass(frozen=True)
class Extent:
    """The number of rows of a file or a part of it, and their first and last time in microseconds."""

    rows: int
    lower_us: int
    upper_us: int


@dataclass(frozen=True)
class IcebergFiles:
    """Parquet files of one snapshot, to be read by field id.

    They may have rows outside of the requested time range. No paths: an empty relation with these columns.
    `rows` and `bytes` are the files' totals from Iceberg metadata.
    """

    paths: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class FilePart:
    """Files that have the same columns.

    `select` has each column's name and its SQL over the files' columns and FILE, the file's path; if empty, the files' columns are
    selected. `header`, for CSV files only, has the column names in the files, all of them text.
    """

    paths: tuple[str, ...]
    select: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalFiles:
    """Parquet files, or CSV files of one format, by path. All parts select the same columns in the same order."""

    parts: tuple[FilePart, ...]
    csv: Csv | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files."""
        return tuple(path for part in self.parts for path in part.paths)

    @property
    def folders(self) -> tuple[str, ...]:
        """The distinct folders of the files."""
        return tuple(dict.fromkeys(path.rpartition("/")[0] or "." for path in self.paths))


def parquet_files(*paths: str) -> LocalFiles:
    """Parquet files with the same columns, which are all selected."""
    return LocalFiles((FilePart(paths),))
