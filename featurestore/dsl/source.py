"""A source: rows with an event time, from an Iceberg table, Parquet or CSV files, or a SQL query over Iceberg tables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.dsl.csv_format import Csv


@dataclass(frozen=True)
class Source:
    """Rows with an event time.

    Exactly one of `table` (an Iceberg table, `namespace.name` or `catalog.namespace.name`), `path` (a Parquet or CSV file or glob)
    and `sql` (one SELECT over Iceberg tables). `timestamp` is the event-time column, read as UTC if it has no zone; `created`, if any,
    is the column with the time at which the row became known. `columns` adds row expressions over the raw columns, and `where`
    keeps the rows for which it is true; `where`, `timestamp` and `created` may use the added columns. `format` is the format of
    CSV files, if it is not the default.
    """

    name: str
    table: str | None = None
    path: str | None = None
    sql: str | None = None
    timestamp: str = ""
    created: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    description: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    format: Csv | None = None

    def __post_init__(self) -> None:
        if isinstance(self.path, os.PathLike):
            object.__setattr__(self, "path", os.fspath(self.path))

    @property
    def written(self) -> bool:
        """Whether the rows are written by key, by `store.write_table`, instead of read from a place; definitions cannot declare that."""
        return self.table is None and self.path is None and self.sql is None
