"""Read a log by column and row number, from row groups of Parquet files or from memory."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.errors import NotReady
from featurestore.joins.gather.as_of import NO_ROW
from featurestore.joins.gather.row_groups import LogFiles, Remote, RowGroup
from featurestore.spines.columns import plain_arrow_type
from featurestore.values.arrays import single_array
from featurestore.values.int64 import Numbers, to_arrow, to_nullable_arrow
from featurestore.values.size_groups import group_by_size

MAX_ARRAY_BYTES = 1 << 31
"""The limit of bytes in one Arrow text array, whose offsets have 32 bits."""
REQUEST_BYTES = 1 << 26
REQUESTS = 8
"""Remote files: how many are read concurrently, and how many bytes of columns are requested together."""
READ_ROWS = 1 << 21
"""Rows of files of which a column is in memory at once."""
CHUNK_ROWS = 1 << 20
"""Rows taken at a time: few enough that text columns stay below the 2 GiB that an Arrow array can address."""


class LogRows(Protocol):
    """Rows numbered from 0."""

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def bytes(self) -> int:
        """What they take in memory."""

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows."""

    def lots(self, names: Sequence[str], rows: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield these columns of all rows in order, about `rows` at a time, each with the number of the first."""

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions, NULL for NO_ROW; chunks have at most CHUNK_ROWS rows."""


class MemoryRows:
    """Rows in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._table.num_rows)

    @property
    def bytes(self) -> int:
        """What they take in memory."""
        return int(self._table.nbytes)

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows."""
        return self._table.select(names)

    def lots(self, names: Sequence[str], rows: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield these columns of all rows in order, `rows` at a time."""
        for first in range(0, self.rows, rows):
            yield first, self._table.select(names).slice(first, rows)

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions."""
        picks = _picks(positions)
        return [_take(self._table.column(name), picks) for name in names]


class FileRows:
    """The rows of row groups of stored files, in order. `take` reads only the row groups with requested rows."""

    def __init__(self, types: Mapping[str, pa.DataType], groups: Sequence[RowGroup], remote: Remote | None = None) -> None:
        self._types, self._groups, self._remote = types, groups, remote
        self._first = np.cumsum([0, *(group.extent.rows for group in groups)])

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._first[-1])

    @property
    def bytes(self) -> int:
        """Zero: columns are read on demand."""
        return 0

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows. Raises: NotReady when a file cannot be read."""
        return pa.table(dict(zip(names, self._columns(names, self._groups, None), strict=True)))

    def lots(self, names: Sequence[str], rows: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield these columns of all rows in order, some row groups at a time. Raises: NotReady when a file cannot be read."""
        for start, end in self._cut(rows):
            yield int(self._first[start]), FileRows(self._types, self._groups[start:end], self._remote).read(names)

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions. Raises: NotReady when a file cannot be read."""
        if self.rows <= READ_ROWS:
            return self._take(names, positions)
        # In the order of the positions, so that each part of the files is read once, and never all of a column is in memory.
        order = np.argsort(positions, kind="stable")
        ordered = positions[order]
        parts: list[list[pa.ChunkedArray]] = []
        for start, end in self._cut(READ_ROWS):
            first, last = np.searchsorted(ordered, [self._first[start], self._first[end]])
            if first < last:
                part = FileRows(self._types, self._groups[start:end], self._remote)
                parts.append(part._take(names, ordered[first:last] - self._first[start]))
        places = np.full(len(positions), NO_ROW)
        begin = int(np.searchsorted(ordered, 0))
        places[order[begin:]] = np.arange(len(ordered) - begin)
        picks = _picks(places)
        taken = zip(*parts, strict=True) if parts else [()] * len(names)
        return [
            _take(pa.chunked_array([chunk for column in columns for chunk in column.chunks], self._types[name]), picks)
            for name, columns in zip(names, taken, strict=True)
        ]

    def _cut(self, rows: int) -> list[tuple[int, int]]:
        """The row groups in runs of about so many rows, each from one number to before another."""
        runs, start = list[tuple[int, int]](), 0
        for end in range(1, len(self._groups) + 1):
            if end == len(self._groups) or self._first[end + 1] - self._first[start] > rows:
                runs.append((start, end))
                start = end
        return runs

    def _take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        is_read = np.zeros(len(self._groups), np.bool_)
        places = np.searchsorted(self._first, positions, side="right") - 1
        is_read[places[positions != NO_ROW]] = True
        if not is_read.all():
            left_out = np.cumsum(np.where(is_read, 0, np.diff(self._first)))
            positions = np.where(positions == NO_ROW, NO_ROW, positions - left_out[places])
        return self._columns(names, [group for group, read in zip(self._groups, is_read, strict=True) if read], _picks(positions))

    def _columns(self, names: Sequence[str], groups: Sequence[RowGroup], picks: "Sequence[_Pick] | None") -> list[pa.ChunkedArray]:
        # Local columns are read and taken one by one, concurrently on all processors. Remote columns are read in few large requests, since
        # they are adjacent in a file.
        # Requests to a remote filesystem are few and large: of about REQUEST_BYTES, or one column.
        together = (
            [[name] for name in names]
            if self._remote is None
            else group_by_size(names, lambda name: sum(group.bytes(name) for group in groups), REQUEST_BYTES)
        )

        def some(names: Sequence[str]) -> list[pa.ChunkedArray]:
            columns = self._read(names, groups)
            return columns if picks is None else [_take(column, picks) for column in columns]

        with ThreadPoolExecutor(pa.cpu_count()) as threads:
            return list(chain.from_iterable(threads.map(some, together)))

    def _read(self, names: Sequence[str], groups: Sequence[RowGroup]) -> list[pa.ChunkedArray]:
        files = [list(groups_of_file) for _, groups_of_file in groupby(groups, key=lambda group: group.path)]
        if self._remote is None:
            tables = [self._table(names, groups_of_file) for groups_of_file in files]
        else:
            with ThreadPoolExecutor(REQUESTS) as threads:
                tables = list(threads.map(partial(self._table, names), files))
        return [pa.chunked_array([chunk for table in tables for chunk in table.column(name).chunks], self._types[name]) for name in names]

    def _table(self, names: Sequence[str], groups: Sequence[RowGroup]) -> pa.Table:
        """Columns of row groups of one file."""
        first, numbers = groups[0], [group.number for group in groups]
        try:
            if self._remote is not None and first.footer is not None:
                table = self._remote.read(first.path, first.footer, numbers, names)
            else:
                with pq.ParquetFile(first.path, metadata=first.footer) as file:
                    table = file.read_row_groups(numbers, columns=list(names), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise NotReady(f"the data file {first.path} cannot be read", reason=str(error)) from error
        for name in names:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(sum(group.extent.rows for group in groups), self._types[name]))
        return table


def file_rows(files: LogFiles, groups: Sequence[RowGroup]) -> FileRows | None:
    """The rows of these row groups; None if DuckDB must read some of the files."""
    if any(group.footer is None for group in groups):
        return None
    return FileRows({column.name: plain_arrow_type(column.sql_type) for column in files.columns}, groups, files.remote)


@dataclass(frozen=True)
class _Pick:
    """At most CHUNK_ROWS positions to take: `indices` has NULL for NO_ROW; `dense` has any position instead, and `there` the valid bits."""

    indices: pa.Array
    dense: pa.Array
    there: pa.Buffer

    def of(self, values: pa.Array) -> pa.Array:
        if values.null_count or not len(values) or not pa.types.is_primitive(values.type):
            return values.take(self.indices)
        # All columns share the valid bits: checking them for each value would double the time.
        taken = pc.take(values, self.dense, boundscheck=False)
        return pa.Array.from_buffers(values.type, len(taken), [self.there, taken.buffers()[1]])


def _picks(positions: Numbers) -> list[_Pick]:
    cut = [positions[start : start + CHUNK_ROWS] for start in range(0, max(len(positions), 1), CHUNK_ROWS)]
    return [_Pick(indices := to_nullable_arrow(part), to_arrow(np.maximum(part, 0)), indices.buffers()[0]) for part in cut]


def _take(column: pa.ChunkedArray, picks: Sequence[_Pick]) -> pa.ChunkedArray:
    if column.nbytes < MAX_ARRAY_BYTES:
        # Taking from one array is three times faster than from several chunks.
        values = single_array(column)
        return pa.chunked_array([pick.of(values) for pick in picks], column.type)
    return pa.chunked_array([single_array(column.take(pick.indices)) for pick in picks], column.type)
