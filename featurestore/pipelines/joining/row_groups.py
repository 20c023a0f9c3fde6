"""The row groups of Parquet files, with what their footers tell of times and keys: enough to leave most of them unread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.compiler.relations import Column, Extent
from featurestore.pipelines.joining.spine_columns import arrow_type

TIME = "feature_timestamp"


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, the `number`th, and the extent of its rows in feature_timestamp.

    `footer` None: the whole of a file that is for the engine to read.
    """

    path: str
    footer: pq.FileMetaData | None
    number: int
    extent: Extent

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """Values that none of a column is below or above; None where nothing tells."""
        found = None if self.footer is None else _statistics(self.footer, self.number, _place(self.footer, column))
        return None if found is None else (found.min, found.max)


def row_groups(path: str, columns: Sequence[Column], extent: Extent) -> list[RowGroup]:
    """The row groups of a file with this extent; the file as one where it has a column by another id, name or type.

    Where a file cannot be opened, it is for the engine to say what is wrong with it.
    """
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return [RowGroup(path, None, 0, extent)]
    schema = footer.schema.to_arrow_schema()
    if not all(_same(schema, column) for column in columns):
        return [RowGroup(path, None, 0, extent)]
    place = _place(footer, TIME)
    found: list[RowGroup] = []
    for number in range(footer.num_row_groups):
        times, rows = _statistics(footer, number, place), footer.row_group(number).num_rows
        ends = (extent.lower_us, extent.upper_us) if times is None else (times.min_raw, times.max_raw)
        found.append(RowGroup(path, footer, number, Extent(rows, *ends)))
    return found


def _place(footer: pq.FileMetaData, column: str) -> int | None:
    """Where a column of plain values is in a file."""
    return next((place for place in range(len(footer.schema)) if footer.schema.column(place).path == column), None)


def _statistics(footer: pq.FileMetaData, number: int, place: int | None) -> pq.Statistics | None:
    found = None if place is None else footer.row_group(number).column(place).statistics
    return found if found is not None and found.has_min_max else None


def _same(schema: pa.Schema, column: Column) -> bool:
    """Whether a file has this column, under its own name, with its field id and in its type."""
    index = schema.get_field_index(column.name)
    if index < 0 or schema.field(index).type != arrow_type(column.sql_type):
        return False
    return (schema.field(index).metadata or {}).get(b"PARQUET:field_id") == str(column.id).encode()
