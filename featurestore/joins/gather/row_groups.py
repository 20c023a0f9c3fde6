"""The row groups of Parquet files, with what their footers tell of times and keys: enough to leave most of them unread."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.relations import Column, Extent
from featurestore.engine.session import Relation
from featurestore.spines.columns import arrow_type

TIME = "feature_timestamp"


class LogFiles(Protocol):
    """Parquet files that have a log's rows, and others, by their paths in `filesystem`; None is that of this machine.

    `columns` are the log's: whether a file has them so is for the reader to see. `extents` has one for each file.
    """

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def extents(self) -> Sequence[Extent]: ...

    @property
    def columns(self) -> Sequence[Column]: ...

    @property
    def filesystem(self) -> pafs.FileSystem | None: ...

    @property
    def relation(self) -> Callable[[Collection[str]], Relation]:
        """The rows of some of the files, for the engine."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, the `number`th, and the extent of its rows in feature_timestamp. `places`: where the file has each column.

    `footer` None: the whole of a file that is for the engine to read.
    """

    path: str
    footer: pq.FileMetaData | None
    number: int
    extent: Extent
    places: Mapping[str, int] = field(default_factory=dict)

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """Values that none of a column is below or above; None where nothing tells."""
        found = None if self.footer is None else _statistics(self.footer, self.number, self.places.get(column))
        return None if found is None else (found.min, found.max)

    def bytes(self, column: str) -> int:
        """What a column takes when it is read; 0 where nothing tells."""
        if self.footer is None:
            return 0
        group = self.footer.row_group(self.number)
        # A list's values lie at `column.list.element` or the like.
        own = (place for path, place in self.places.items() if path.partition(".")[0] == column)
        return sum(group.column(place).total_uncompressed_size for place in own)


def row_groups(files: LogFiles, path: str, extent: Extent) -> list[RowGroup]:
    """The row groups of one of the files, which has this extent; the file as one where it has a column by another id, name or type.

    Where a file cannot be opened, it is for the engine to say what is wrong with it.
    """
    try:
        footer = pq.read_metadata(path, filesystem=files.filesystem)
    except (OSError, pa.ArrowException):
        return [RowGroup(path, None, 0, extent)]
    schema = footer.schema.to_arrow_schema()
    if not all(_same(schema, column) for column in files.columns):
        return [RowGroup(path, None, 0, extent)]
    places = {footer.schema.column(place).path: place for place in range(len(footer.schema))}
    found: list[RowGroup] = []
    for number in range(footer.num_row_groups):
        times, rows = _statistics(footer, number, places.get(TIME)), footer.row_group(number).num_rows
        ends = (extent.lower_us, extent.upper_us) if times is None else (times.min_raw, times.max_raw)
        found.append(RowGroup(path, footer, number, Extent(rows, *ends), places))
    return found


def _statistics(footer: pq.FileMetaData, number: int, place: int | None) -> pq.Statistics | None:
    found = None if place is None else footer.row_group(number).column(place).statistics
    return found if found is not None and found.has_min_max else None


def _same(schema: pa.Schema, column: Column) -> bool:
    """Whether a file has this column, under its own name, with its field id and in its type; a file without tombstones has no DELETED."""
    index = schema.get_field_index(column.name)
    if index < 0 and column.name == DELETED:
        return True
    if index < 0 or schema.field(index).type != arrow_type(column.sql_type):
        return False
    return (schema.field(index).metadata or {}).get(b"PARQUET:field_id") == str(column.id).encode()
