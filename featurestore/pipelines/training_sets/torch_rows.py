"""A training set as a torch dataset: each row once per epoch over all ranks and workers, in an order determined by a seed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset, get_worker_info

from featurestore.compiler.point_in_time import ROW
from featurestore.errors import RequestError
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.splits import PART

POSITION = "__fs_position"
PIECES = 4
"""Minimum number of file pieces per shard, so that no shard is left without rows."""

Batch: TypeAlias = dict[str, Any]
Unit: TypeAlias = tuple[int, int, int, int]
"""A piece of a row group: file index, row group index, first row, number of rows."""


class TorchRows(IterableDataset):
    """Batches as dicts of tensors, for a DataLoader with `batch_size=None`.

    Numbers keep their type; integers and booleans with any NULL become float64 with NaN. Decimals become float64, times int64
    microseconds (NULL: the smallest int64). Other types are lists. `__fs_row` has the row numbers in spine order, `__fs_position` the
    shard, the number of the batch in it and the number of shards. A shard is one worker of one rank. Call `set_epoch` before each
    epoch, also with persistent workers.
    """

    def __init__(
        self,
        files: Files,
        columns: Sequence[str],
        *,
        part: str | None,
        rows: int,
        shuffle: bool,
        seed: int,
        buffer: int,
        rank: int,
        world: int,
    ) -> None:
        super().__init__()
        self._files, self._columns, self._part = files, list(columns), part
        self._rows, self._shuffle, self._seed, self._buffer = rows, shuffle, seed, buffer
        self._rank, self._world = rank, world
        # Shared memory, so that persistent workers of a DataLoader see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._taken: dict[int, int] = {}
        self._shards: int | None = None
        self._resumed: tuple[int, dict[int, int]] = (0, {})
        self._metadata = [pq.read_metadata(name, filesystem=files.filesystem) for name in files.names]
        self._types = _tensor_types(self._metadata, self._columns)
        self._process = os.getpid()

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch: another order, from its first row."""
        self._epoch.fill_(epoch)
        self._taken, self._resumed, self._shards = {}, (epoch, {}), None

    def taken(self, batch: Mapping[str, Any]) -> None:
        """Record that a batch was used. Needed if the DataLoader has workers, since they are other processes."""
        shard, number, shards = batch[POSITION].tolist()
        self._taken[shard], self._shards = number + 1, shards

    def state_dict(self) -> dict[str, Any]:
        """The position of this rank, JSON-ready, for `load_state_dict`."""
        taken = {str(shard): number for shard, number in (self._start() | self._taken).items()}
        return {"epoch": int(self._epoch), "seed": self._seed, "rows": self._rows, "shards": self._shards, "taken": taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume after the batches of a state. Raises: RequestError for a state with another seed or batch size."""
        for name, value in (("seed", self._seed), ("rows", self._rows)):
            if state[name] != value:
                raise RequestError(f"the state has {name}={state[name]}, this reader {name}={value}; use the same value", field=name)
        self._epoch.fill_(int(state["epoch"]))
        self._taken, self._shards = {}, state["shards"]
        self._resumed = (int(state["epoch"]), {int(shard): int(number) for shard, number in state["taken"].items()})

    def __iter__(self) -> Iterator[Batch]:
        if os.getpid() != self._process:
            # A forked worker must not use connections that it shares with its parent and siblings.
            self._process, self._files = os.getpid(), self._files.reopen()
        worker = get_worker_info()
        workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        shards, shard = self._world * workers, self._rank * workers + worker_id
        start = self._start()
        if start and self._shards not in (None, shards):
            raise RequestError(
                f"the state has {self._shards} workers over all ranks, now there are {shards}; use as many, or call set_epoch"
            )
        first = start.get(shard, 0)
        for number, table in enumerate(self._batches(shard, shards, first * self._rows), first):
            self._taken[shard], self._shards = number + 1, shards
            yield {**self._tensors(table), POSITION: torch.tensor([shard, number, shards])}

    def _start(self) -> dict[int, int]:
        """By shard, the first batch to return in this epoch; a persistent worker may still have the state of an earlier epoch."""
        epoch, start = self._resumed
        return start if epoch == int(self._epoch) else {}

    def _batches(self, shard: int, shards: int, skip: int) -> Iterator[pa.Table]:
        rest: pa.Table | None = None
        for window in self._windows(shard, shards, skip):
            rest = window if rest is None else pa.concat_tables([rest, window])
            complete = rest.num_rows - rest.num_rows % self._rows
            for start in range(0, complete, self._rows):
                yield rest.slice(start, self._rows)
            rest = rest.slice(complete)
        if rest is not None and rest.num_rows:
            yield rest

    def _windows(self, shard: int, shards: int, skip: int) -> Iterator[pa.Table]:
        """Groups of pieces in the order of the epoch, each as large as the buffer and shuffled by row, without the first `skip` rows."""
        units, epoch = _units(self._metadata, shards), int(self._epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(units)) if self._shuffle else np.arange(len(units))
        chosen = [units[index] for index in order[shard::shards]]
        buffer: list[tuple[Unit, pa.Table | None]] = []
        rows = window = 0
        for position, unit in enumerate(chosen):
            # The number of its rows is known without reading it, but not the number of rows of the part.
            table = None if self._part is None else self._read(unit)
            buffer.append((unit, table))
            rows += unit[3] if table is None else table.num_rows
            if rows < self._buffer and position < len(chosen) - 1:
                continue
            if rows > skip:
                merged = pa.concat_tables([self._read(unit) if table is None else table for unit, table in buffer])
                shuffled = np.random.default_rng([self._seed, epoch, shard, window]).permutation(rows)
                yield (merged.take(shuffled) if self._shuffle else merged).slice(skip)
            buffer, skip, rows, window = [], max(skip - rows, 0), 0, window + 1

    def _read(self, unit: Unit) -> pa.Table:
        file, group, start, count = unit
        columns = [*self._columns, ROW, *([] if self._part is None else [PART])]
        with pq.ParquetFile(
            self._files.names[file], metadata=self._metadata[file], filesystem=self._files.filesystem, pre_buffer=True
        ) as parquet:
            table = parquet.read_row_group(group, columns=columns).slice(start, count)
        if self._part is None:
            return table
        return table.filter(pc.equal(table.column(PART), self._part)).drop_columns(PART)

    def _tensors(self, table: pa.Table) -> Batch:
        tensors: Batch = {name: _tensor(table.column(name), self._types[name]) for name in self._columns}
        return {**tensors, ROW: _tensor(table.column(ROW), pa.int64())}


def _units(files: Sequence[pq.FileMetaData], shards: int) -> list[Unit]:
    groups = [
        (file, group, metadata.row_group(group).num_rows) for file, metadata in enumerate(files) for group in range(metadata.num_row_groups)
    ]
    pieces = -(-PIECES * shards // len(groups)) if 0 < len(groups) < PIECES * shards else 1
    cut = [(file, group, rows * i // pieces, rows * (i + 1) // pieces) for file, group, rows in groups for i in range(pieces)]
    return [(file, group, start, end - start) for file, group, start, end in cut if end > start]


def _tensor_types(files: Sequence[pq.FileMetaData], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """The tensor type of each column: the same for every batch, so it must represent NULL if there is one anywhere."""
    if not files:
        return {}
    schema, nulls = files[0].schema.to_arrow_schema(), dict.fromkeys(columns, 0)
    for metadata in files:
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema in nulls:
                    has_count = column.statistics is not None and column.statistics.has_null_count
                    nulls[column.path_in_schema] += column.statistics.null_count if has_count else column.num_values
    return {name: _tensor_type(schema.field(name).type, nulls[name]) for name in columns}


def _tensor_type(arrow_type: pa.DataType, nulls: int) -> pa.DataType:
    if pa.types.is_timestamp(arrow_type):
        return pa.int64()
    if pa.types.is_decimal(arrow_type) or (nulls and (pa.types.is_integer(arrow_type) or pa.types.is_boolean(arrow_type))):
        return pa.float64()
    return arrow_type


def _tensor(column: pa.ChunkedArray, arrow_type: pa.DataType) -> Any:
    if pa.types.is_timestamp(column.type):
        values = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).fill_null(-(2**63))
    elif pa.types.is_boolean(column.type) and pa.types.is_floating(arrow_type):
        values = column.cast(pa.int8()).cast(arrow_type)
    elif pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_boolean(arrow_type):
        values = column.cast(arrow_type)
    else:
        return column.to_pylist()
    return torch.from_numpy(np.array(values.to_numpy()))
