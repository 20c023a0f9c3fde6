"""The row groups of Parquet files, with the bounds of times and keys from their footers, so that most need not be read."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.relations import Column, Extent
from featurestore.engine.session import Relation
from featurestore.spines.columns import plain_arrow_type

TIME = "feature_timestamp"


class Remote(Protocol):
    """Parquet files that are not on this machine, by path. Raises: OSError, ArrowException."""

    def footer(self, path: str) -> pq.FileMetaData:
        """The footer of a file."""

    def read(self, path: str, footer: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Columns of row groups of a file."""


class LogFiles(Protocol):
    """Parquet files with a log's rows, and possibly others; `remote` reads them where they are not on this machine.

    `columns` are the log's; the reader must check how a file stores them. `extents` has one element per file.
    """

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def extents(self) -> Sequence[Extent]: ...

    @property
    def columns(self) -> Sequence[Column]: ...

    @property
    def remote(self) -> "Remote | None": ...

    @property
    def relation(self) -> Callable[[Collection[str]], Relation]:
        """Returns the rows of some of the files for DuckDB."""


@dataclass(frozen=True)
class RowGroup:
    """Row group `number` of a file, and the extent of its rows in feature_timestamp. `places`: the position of each column in the file.

    `footer` None: a whole file that DuckDB must read.
    """

    path: str
    footer: pq.FileMetaData | None
    number: int
    extent: Extent
    places: Mapping[str, int] = field(default_factory=dict)

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """Lower and upper bound of a column; None if there are no statistics."""
        statistics = None if self.footer is None else _statistics(self.footer, self.number, self.places.get(column))
        return None if statistics is None else (statistics.min, statistics.max)

    def bytes(self, column: str) -> int:
        """The size of a column in memory; 0 if it is unknown."""
        if self.footer is None:
            return 0
        group = self.footer.row_group(self.number)
        # The values of a list are at `column.list.element` or a similar path.
        column_places = (place for path, place in self.places.items() if path.partition(".")[0] == column)
        return sum(group.column(place).total_uncompressed_size for place in column_places)


def row_groups(files: LogFiles, path: str, extent: Extent) -> list[RowGroup]:
    """The row groups of a file with this extent; one for the whole file if a column has another id, name or type.

    The same if the file cannot be opened: DuckDB then reports what is wrong.
    """
    try:
        footer = pq.read_metadata(path) if files.remote is None else files.remote.footer(path)
    except (OSError, pa.ArrowException):
        return [RowGroup(path, None, 0, extent)]
    schema = footer.schema.to_arrow_schema()
    if not all(_same(schema, column) for column in files.columns):
        return [RowGroup(path, None, 0, extent)]
    places = {footer.schema.column(place).path: place for place in range(len(footer.schema))}
    groups: list[RowGroup] = []
    for number in range(footer.num_row_groups):
        times, rows = _statistics(footer, number, places.get(TIME)), footer.row_group(number).num_rows
        ends = (extent.lower_us, extent.upper_us) if times is None else (times.min_raw, times.max_raw)
        groups.append(RowGroup(path, footer, number, Extent(rows, *ends), places))
    return groups


def _statistics(footer: pq.FileMetaData, number: int, place: int | None) -> pq.Statistics | None:
    statistics = None if place is None else footer.row_group(number).column(place).statistics
    return statistics if statistics is not None and statistics.has_min_max else None


def _same(schema: pa.Schema, column: Column) -> bool:
    """Whether a file has this column with its name, field id and type; DELETED may be missing, since it means no tombstones."""
    index = schema.get_field_index(column.name)
    if index < 0 and column.name == DELETED:
        return True
    if index < 0 or schema.field(index).type != plain_arrow_type(column.sql_type):
        return False
    return (schema.field(index).metadata or {}).get(b"PARQUET:field_id") == str(column.id).encode()
