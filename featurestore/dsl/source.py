"""A source is rows with a time: an Iceberg table, Parquet or CSV files, or one SQL query over Iceberg tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Rows with an event time.

    Exactly one of `table` (an Iceberg table, `namespace.name`), `path` (a Parquet or CSV file or glob) and `sql`
    (one SELECT over Iceberg tables). `timestamp` is the event-time column, read as UTC when it has no zone;
    `created`, if any, is when the row became known. `columns` adds row expressions over the raw columns, and
    `where` keeps the rows for which it is true; it may use the added columns. `timestamp` and `created` may too.
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
