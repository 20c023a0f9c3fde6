"""A source: rows with an event time, from an Iceberg table, files, a SQL query over Iceberg tables, a database, or pushed to the store."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from featurestore.dsl.csv_format import Csv
from featurestore.values.table_names import KEPT_NAMESPACE

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
ACKNOWLEDGED = "acknowledged"
"""The column of a pushed source with the time at which the store acknowledged the row."""


@dataclass(frozen=True)
class Source:
    """Rows with an event time.

    Exactly one of `table` (an Iceberg table, `namespace.name` or `catalog.namespace.name`), `path` (a Parquet or CSV file or glob, also
    an address such as `s3://bucket/day=*/*.parquet`), `sql` (one SELECT over Iceberg tables), `url` with the `table` of a database, and
    `schema` (columns and types of rows that `store.push` and `store.write` bring, in a table that the store makes).
    `timestamp` is the event-time column, read as UTC if it has no zone; `created`, if any, is the column with the time at which the row
    became known. `columns` adds row expressions over the raw columns, and `where` keeps the rows for which it is true; `where`,
    `timestamp` and `created` may use the added columns. `format` is the format of CSV files, if it is not the default, and `partitions`
    the types of columns in folder names.

    The store keeps a copy of rows at addresses and in databases, and of files with `keep`, and each run copies what is new. For a
    database, `watermark` is the column that grows with each new or changed row, `id` the column that identifies a row, if rows change,
    `overlap` how far behind the watermark rows may be committed late, and `zone` that of timestamps without one.

    Of pushed rows, `id` is the column that says which are the same: each counts once, however often it is sent. Their `created` is by
    default the column `acknowledged`, the time at which the store had them durably.
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
    url: str | None = None
    watermark: str | None = None
    id: str | None = None
    overlap: str | None = None
    zone: str | None = None
    partitions: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    schema: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.path, os.PathLike):
            object.__setattr__(self, "path", os.fspath(self.path))
        if self.pushed and self.created is None:
            object.__setattr__(self, "created", ACKNOWLEDGED)

    @property
    def written(self) -> bool:
        """Whether the rows are written by key, by `store.write_table`, instead of read from a place; definitions cannot declare that."""
        return self.table is None and self.path is None and self.sql is None and self.url is None and not self.pushed

    @property
    def pushed(self) -> bool:
        """Whether the rows are pushed to the store, whose table has them all."""
        return self.schema is not None

    @property
    def kept(self) -> bool:
        """Whether the store keeps the rows, or a copy of them, in `kept_table`."""
        return self.pushed or self.url is not None or (isinstance(self.path, str) and (self.keep or is_address(self.path)))

    @property
    def kept_table(self) -> str:
        """The Iceberg table with the copy: another place, or another way to read it, is another copy. Pushed rows have one by the name of
        the source, since there is nowhere else to get them from.
        """
        if self.pushed:
            return f"{KEPT_NAMESPACE}.{self.name}"
        place = {
            "url": self.url,
            "table": self.table,
            "path": self.path,
            "format": None if self.format is None else asdict(self.format),
            "watermark": self.watermark,
            "id": self.id,
            "zone": self.zone,
            "partitions": dict(self.partitions),
        }
        digest = hashlib.sha256(json.dumps(place, sort_keys=True, default=str).encode()).hexdigest()[:8]
        return f"{KEPT_NAMESPACE}.{self.name}_{digest}"

    @property
    def catalog_table(self) -> str | None:
        """The Iceberg table that runs read: that of the definition, or of the copy; None for files that are read in place, and SQL."""
        return self.kept_table if self.kept else self.table

    @property
    def files(self) -> str | None:
        """The path of files that runs read in place; None for other sources."""
        return None if self.kept else self.path

    @property
    def origin(self) -> str:
        """What the rows of a copy are copied from, for messages."""
        if self.pushed:
            return f"rows pushed to {self.name}"
        return str(self.path) if self.url is None else f"table {self.table} of {self.url}"


def is_address(path: str) -> bool:
    """Whether a path is an address, such as `s3://bucket/key`."""
    return _ADDRESS.match(path) is not None
