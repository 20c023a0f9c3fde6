"""The times of a generated spine, as a caller gives them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.dsl.csv_format import Csv
from featurestore.dsl.durations import microseconds
from featurestore.errors import RequestError, brief
from featurestore.spines.file_format import with_format
from featurestore.values import times
from featurestore.values.arguments import check_text

TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class SpineGrid:
    """The times start, start + every, ... up to and including `end`, in microseconds."""

    start: int
    end: int
    every: int


def spine_or_grid(
    spine: Any,
    timestamp: str | None,
    start: datetime | str | None,
    end: datetime | str | None,
    every: str | None,
    format: Csv | None = None,
) -> tuple[Any, str]:
    """The caller's spine with its format, or the grid, and the name of the timestamp column.

    Raises: RequestError if both or neither are given, if arguments are missing, or for a format without CSV files.
    """
    grid = {"start": start, "end": end, "every": every}
    grid_arguments = [name for name, value in grid.items() if value is not None]
    if spine is not None:
        if grid_arguments:
            raise RequestError(
                f"give either spine= or start=, end= and every=, not spine= and {grid_arguments[0]}=", field=grid_arguments[0]
            )
        if timestamp is None:
            raise RequestError("a spine needs timestamp=, its column with each row's time", field="timestamp")
        return with_format(spine, format), check_text(timestamp, "timestamp")
    if format is not None:
        raise RequestError("format= says how a spine's CSV files are written, and there is no spine", field="format")
    if start is None or end is None or every is None:
        missing = next(name for name, value in grid.items() if value is None)
        raise RequestError(f"give spine= with timestamp=, or start=, end= and every=: {missing}= is missing", field=missing)
    return parse_grid(start, end, every), TIMESTAMP if timestamp is None else check_text(timestamp, "timestamp")


def parse_grid(start: datetime | str, end: datetime | str, every: str) -> SpineGrid:
    """Parse a grid from times and a duration. Raises: RequestError naming what is wrong."""
    try:
        step = microseconds(every)
    except ValueError as error:
        raise RequestError(f"every: {error}", field="every") from error
    grid = SpineGrid(times.parse(start, "start"), times.parse(end, "end"), step)
    if step <= 0:
        raise RequestError(f"every={brief(every)} must be longer than zero, such as '1d'", field="every")
    if grid.end < grid.start:
        raise RequestError(f"end {times.text(grid.end)} is before start {times.text(grid.start)}", field="end")
    return grid
