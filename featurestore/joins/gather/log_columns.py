"""The rows of a log, numbered, to be read a column at a time: from row groups of Parquet files as they are, or from memory."""

from collections.abc import Sequence
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
from featurestore.joins.gather.as_of import NOTHING
from featurestore.joins.gather.row_groups import LogFiles, RowGroup
from featurestore.spines.columns import arrow_type
from featurestore.values.arrays import whole
from featurestore.values.int64 import Numbers, arrow, with_gaps

ADDRESSED = 1 << 31
"""The bytes that one Arrow array can address, where they are text."""
LOT = 1 << 26
REQUESTS = 8
"""Of what is far away so many files are read from at once, of columns of so many bytes together."""
PIECE = 1 << 20
"""Rows taken at once: few enough that no column of texts passes the two gigabytes that Arrow can address."""


class LogRows(Protocol):
    """Rows that are numbered from 0."""

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def bytes(self) -> int:
        """What they take in memory."""

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows."""

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions, NULL where there is NOTHING; no chunk is longer than PIECE."""


class HeldRows:
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

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions."""
        picks = _picks(positions)
        return [_taken(self._table.column(name), picks) for name in names]


class FileRows:
    """The rows of row groups of stored files, one after the other. Of a column only those groups are read that a row is wanted of."""

    def __init__(self, files: LogFiles, groups: Sequence[RowGroup]) -> None:
        self._groups, self._filesystem = groups, files.filesystem
        self._types = {column.name: arrow_type(column.sql_type) for column in files.columns}
        self._first = np.cumsum([0, *(group.extent.rows for group in groups)])

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._first[-1])

    @property
    def bytes(self) -> int:
        """Nothing: a column is read when it is wanted."""
        return 0

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows. Raises: NotReady when a file cannot be read."""
        return pa.table(dict(zip(names, self._columns(names, self._groups, None), strict=True)))

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions. Raises: NotReady when a file cannot be read."""
        wanted = np.zeros(len(self._groups), np.bool_)
        places = np.searchsorted(self._first, positions, side="right") - 1
        wanted[places[positions != NOTHING]] = True
        if not wanted.all():
            left_out = np.cumsum(np.where(wanted, 0, np.diff(self._first)))
            positions = np.where(positions == NOTHING, NOTHING, positions - left_out[places])
        return self._columns(names, [group for group, found in zip(self._groups, wanted, strict=True) if found], _picks(positions))

    def _columns(self, names: Sequence[str], groups: Sequence[RowGroup], picks: "Sequence[_Pick] | None") -> list[pa.ChunkedArray]:
        # A column is read and taken from before the next one is read, as many at once as there are processors. What is far away is asked
        # for in few large requests: columns lie side by side in a file.
        together = [[name] for name in names] if self._filesystem is None else _lots(names, groups)

        def some(names: Sequence[str]) -> list[pa.ChunkedArray]:
            columns = self._read(names, groups)
            return columns if picks is None else [_taken(column, picks) for column in columns]

        with ThreadPoolExecutor(pa.cpu_count()) as threads:
            return list(chain.from_iterable(threads.map(some, together)))

    def _read(self, names: Sequence[str], groups: Sequence[RowGroup]) -> list[pa.ChunkedArray]:
        files = [list(found) for _, found in groupby(groups, key=lambda group: group.path)]
        if self._filesystem is None:
            tables = [self._table(names, found) for found in files]
        else:
            with ThreadPoolExecutor(REQUESTS) as threads:
                tables = list(threads.map(partial(self._table, names), files))
        return [pa.chunked_array([chunk for table in tables for chunk in table.column(name).chunks], self._types[name]) for name in names]

    def _table(self, names: Sequence[str], groups: Sequence[RowGroup]) -> pa.Table:
        """Columns of row groups of one file."""
        first, far = groups[0], self._filesystem is not None
        try:
            with pq.ParquetFile(first.path, metadata=first.footer, filesystem=self._filesystem, pre_buffer=far) as file:
                table = file.read_row_groups([group.number for group in groups], columns=list(names), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise NotReady(f"the data file {first.path} cannot be read", reason=str(error)) from error
        for name in names:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(sum(group.extent.rows for group in groups), self._types[name]))
        return table


def file_rows(files: LogFiles, groups: Sequence[RowGroup]) -> FileRows | None:
    """The rows of these groups of the files; None where some are for the engine to read."""
    return None if any(group.footer is None for group in groups) else FileRows(files, groups)


def _lots(names: Sequence[str], groups: Sequence[RowGroup]) -> list[list[str]]:
    """The columns in lots of about LOT bytes, or one."""
    lots: list[list[str]] = []
    room = 0
    for name in names:
        size = sum(group.bytes(name) for group in groups)
        if not lots or size > room:
            lots.append([])
            room = LOT
        lots[-1].append(name)
        room -= size
    return lots


@dataclass(frozen=True)
class _Pick:
    """At most PIECE positions to take: `indices` NULL for NOTHING; `dense` any in place of it, and `there` the bits of which are not."""

    indices: pa.Array
    dense: pa.Array
    there: pa.Buffer

    def of(self, values: pa.Array) -> pa.Array:
        if values.null_count or not len(values) or not pa.types.is_primitive(values.type):
            return values.take(self.indices)
        # All columns share the bits: to look at them for each value would double the time.
        found = pc.take(values, self.dense, boundscheck=False)
        return pa.Array.from_buffers(values.type, len(found), [self.there, found.buffers()[1]])


def _picks(positions: Numbers) -> list[_Pick]:
    cut = [positions[start : start + PIECE] for start in range(0, max(len(positions), 1), PIECE)]
    return [_Pick(indices := with_gaps(part), arrow(np.maximum(part, 0)), indices.buffers()[0]) for part in cut]


def _taken(column: pa.ChunkedArray, picks: Sequence[_Pick]) -> pa.ChunkedArray:
    if column.nbytes < ADDRESSED:
        # Out of one array it takes a third of the time that it takes out of several.
        values = whole(column)
        return pa.chunked_array([pick.of(values) for pick in picks], column.type)
    return pa.chunked_array([whole(column.take(pick.indices)) for pick in picks], column.type)
