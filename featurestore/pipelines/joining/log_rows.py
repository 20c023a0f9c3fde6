"""The rows of a log, numbered, to be read a column at a time: from Parquet files as they are, or from memory."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import NotReady
from featurestore.pipelines.arrays import whole
from featurestore.pipelines.joining.as_of import NOTHING
from featurestore.pipelines.joining.spine_columns import arrow_type
from featurestore.pipelines.numbers import Flags, Numbers, arrow, with_gaps

ADDRESSED = 1 << 31
"""The bytes that one Arrow array can address, where they are text."""
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
    """The rows of Parquet files, one file after the other. Of a column only the row groups are read that a row is wanted of."""

    def __init__(self, files: Sequence[pq.FileMetaData], paths: Sequence[str], types: Mapping[str, pa.DataType]) -> None:
        self._files, self._paths, self._types = files, paths, types

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(file.num_rows for file in self._files)

    @property
    def bytes(self) -> int:
        """Nothing: a column is read when it is wanted."""
        return 0

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows. Raises: NotReady when a file cannot be read."""
        return pa.table(dict(zip(names, self._columns(names, None, None), strict=True)))

    def take(self, names: Sequence[str], positions: Numbers) -> list[pa.ChunkedArray]:
        """These columns of the rows at these positions. Raises: NotReady when a file cannot be read."""
        wanted = np.zeros(len(self._groups) - 1, np.bool_)
        places = np.searchsorted(self._groups, positions, side="right") - 1
        wanted[places[positions != NOTHING]] = True
        if not wanted.all():
            left_out = np.cumsum(np.where(wanted, 0, np.diff(self._groups)))
            positions = np.where(positions == NOTHING, NOTHING, positions - left_out[places])
        return self._columns(names, wanted, _picks(positions))

    @cached_property
    def _groups(self) -> Numbers:
        """The number of the first row of each row group; then that of all rows."""
        sizes = [file.row_group(group).num_rows for file in self._files for group in range(file.num_row_groups)]
        return np.cumsum([0, *sizes])

    def _columns(self, names: Sequence[str], wanted: Flags | None, picks: "Sequence[_Pick] | None") -> list[pa.ChunkedArray]:
        # A column is read and taken from before the next one is read, as many at once as there are processors.
        def one(name: str) -> pa.ChunkedArray:
            column = self._read(name, wanted)
            return column if picks is None else _taken(column, picks)

        with ThreadPoolExecutor(pa.cpu_count()) as threads:
            return list(threads.map(one, names))

    def _read(self, name: str, wanted: Flags | None) -> pa.ChunkedArray:
        chunks: list[pa.Array] = []
        begin = 0
        for metadata, path in zip(self._files, self._paths, strict=True):
            groups = range(metadata.num_row_groups)
            chosen = [group for group in groups if wanted is None or wanted[begin + group]]
            begin += metadata.num_row_groups
            if chosen:
                try:
                    with pq.ParquetFile(path, metadata=metadata) as file:
                        chunks += file.read_row_groups(chosen, columns=[name], use_threads=False).column(0).chunks
                except (OSError, pa.ArrowException) as error:
                    raise NotReady(f"the data file {path} cannot be read", reason=str(error)) from error
        return pa.chunked_array(chunks, self._types[name])


def file_rows(files: IcebergFiles) -> FileRows | None:
    """The rows of these files; None where a file has a column by another id, name or type: reading is then for the engine.

    Where a file cannot be opened, it is for the engine to say what is wrong with it.
    """
    types = {column.name: arrow_type(column.sql_type) for column in files.columns}
    ids = {column.name: column.id for column in files.columns}
    found: list[pq.FileMetaData] = []
    for path in files.paths:
        try:
            metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowException):
            return None
        schema = metadata.schema.to_arrow_schema()
        if not all(_same(schema, name, kind, ids[name]) for name, kind in types.items()):
            return None
        found.append(metadata)
    return FileRows(found, files.paths, types)


def _same(schema: pa.Schema, name: str, kind: pa.DataType, id: int) -> bool:
    """Whether a file has this column, under its own name, with its field id and in its type."""
    index = schema.get_field_index(name)
    if index < 0 or schema.field(index).type != kind:
        return False
    return (schema.field(index).metadata or {}).get(b"PARQUET:field_id") == str(id).encode()


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
