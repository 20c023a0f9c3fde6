"""Spines as JSON: a table, a query, rows or a grid of times."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from featurestore.server.requests.body import Body, Record
from featurestore.spines.time_grid import parse_grid
from featurestore.values.frames import is_query

MOST_ROWS = 100_000
"""Maximum number of rows of a JSON spine; larger spines are uploaded as files."""
MOST_CELLS = 10_000_000
"""Maximum rows times columns of a JSON spine."""


class GridBody(Body):
    """A spine of all keys in the service's feature tables, at each of the times start, start + every, ... up to end."""

    start: str
    end: str
    every: Annotated[str, Field(examples=["1d"])]


class SpineBody(Body):
    """The rows to join features to. Give exactly one of the four fields; upload a file as multipart/form-data instead."""

    table: str | None = Field(None, description="an Iceberg table, `namespace.name`, or `namespace.name@snapshot`")
    sql: str | None = Field(None, description="one SELECT over Iceberg tables")
    rows: list[Record] | None = Field(None, max_length=MOST_ROWS, description="the rows themselves; times as ISO 8601")
    grid: GridBody | None = Field(None, description="every key at regular times, which are in the column `timestamp`")

    @model_validator(mode="after")
    def _check_one_source(self) -> Self:
        if sum(part is not None for part in (self.table, self.sql, self.rows, self.grid)) != 1:
            raise ValueError("a spine is exactly one of table, sql, rows and grid")
        return self

    def to_spine(self) -> Any:
        """The spine as an argument of the store's methods."""
        if self.grid is not None:
            return parse_grid(self.grid.start, self.grid.end, self.grid.every)
        if self.table is not None:
            return f"iceberg:{self.table}"
        return self.rows if self.rows is not None else self.sql

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        # Every row becomes a value in every column, NULL where the row has none: a few rows with many names would take gigabytes.
        names = {name for row in self.rows or () for name in row}
        if len(names) * len(self.rows or ()) > MOST_CELLS:
            raise ValueError(f"{len(self.rows or ())} rows of {len(names)} columns; send so many as a Parquet or Arrow file")
        return self

    @model_validator(mode="after")
    def _check_select(self) -> Self:
        # The store would read any other string as a file path, and callers must not read the server's files.
        if self.sql is not None and not is_query(self.sql):
            raise ValueError("sql must be one SELECT")
        return self
