"""A training set for torch: every row exactly once an epoch, over all ranks and workers, in an order that a seed decides."""

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
"""At least so many pieces of files for each shard, so that none is left without rows."""

Batch: TypeAlias = dict[str, Any]
Unit: TypeAlias = tuple[int, int, int, int]
"""The number of a file, of a row group in it, the first of its rows and how many."""


class TorchRows(IterableDataset):
    """Batches as dicts of tensors, for a DataLoader with `batch_size=None`.

    Numbers are tensors of their own kind, integers and truths with a NULL anywhere float64 with NaN; decimals are float64, times
    int64 microseconds (NULL: the least one); all else are lists. `__fs_row` has the rows' numbers in spine order, `__fs_position`
    the shard and the batch's number in it. Call `set_epoch` before each epoch, also where workers are kept. A shard is a worker of
    a rank.
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
        # Shared with the workers: those that a DataLoader keeps have to see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._taken: dict[int, int] = {}
        self._shards: int | None = None
        self._resumed: tuple[int, dict[int, int]] = (0, {})
        self._metadata = [pq.read_metadata(name, filesystem=files.filesystem) for name in files.names]
        self._kinds = _kinds(self._metadata, self._columns)
        self._process = os.getpid()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: another order, from its first row."""
        self._epoch.fill_(epoch)
        self._taken, self._resumed, self._shards = {}, (epoch, {}), None

    def taken(self, batch: Mapping[str, Any]) -> None:
        """Note that a batch has been learned from. Needed where a DataLoader has workers: they are other processes."""
        shard, number, shards = batch[POSITION].tolist()
        self._taken[shard], self._shards = number + 1, shards

    def state_dict(self) -> dict[str, Any]:
        """Where this rank stands, JSON-ready: for `load_state_dict`."""
        taken = {str(shard): number for shard, number in (self._start() | self._taken).items()}
        return {"epoch": int(self._epoch), "seed": self._seed, "rows": self._rows, "shards": self._shards, "taken": taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches of a state; they are read over. Raises: RequestError for a state of another seed or batch size."""
        for name, own in (("seed", self._seed), ("rows", self._rows)):
            if state[name] != own:
                raise RequestError(f"the state is of {name}={state[name]}, this reader has {name}={own}; give it the same", field=name)
        self._epoch.fill_(int(state["epoch"]))
        self._taken, self._shards = {}, state["shards"]
        self._resumed = (int(state["epoch"]), {int(shard): int(number) for shard, number in state["taken"].items()})

    def __iter__(self) -> Iterator[Batch]:
        if os.getpid() != self._process:
            # A forked worker must not speak over connections that its parent and its siblings have, too.
            self._process, self._files = os.getpid(), self._files.reopened()
        worker = get_worker_info()
        workers, own = (1, 0) if worker is None else (worker.num_workers, worker.id)
        shards, shard = self._world * workers, self._rank * workers + own
        start = self._start()
        if start and self._shards not in (None, shards):
            raise RequestError(f"the state is of {self._shards} workers over all ranks, there are {shards} now; use as many, or set_epoch")
        first = start.get(shard, 0)
        for number, table in enumerate(self._batches(shard, shards, first * self._rows), first):
            self._taken[shard], self._shards = number + 1, shards
            yield {**self._tensors(table), POSITION: torch.tensor([shard, number, shards])}

    def _start(self) -> dict[int, int]:
        """By shard, the first batch of the epoch to give; a worker that is kept from an earlier epoch has what held then."""
        epoch, start = self._resumed
        return start if epoch == int(self._epoch) else {}

    def _batches(self, shard: int, shards: int, skip: int) -> Iterator[pa.Table]:
        held: pa.Table | None = None
        for window in self._windows(shard, shards, skip):
            held = window if held is None else pa.concat_tables([held, window])
            whole = held.num_rows - held.num_rows % self._rows
            for start in range(0, whole, self._rows):
                yield held.slice(start, self._rows)
            held = held.slice(whole)
        if held is not None and held.num_rows:
            yield held

    def _windows(self, shard: int, shards: int, skip: int) -> Iterator[pa.Table]:
        """Pieces in a chosen order, of which as many as the buffer holds are shuffled row by row; less the first `skip` rows."""
        units, epoch = _units(self._metadata, shards), int(self._epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(units)) if self._shuffle else np.arange(len(units))
        chosen = [units[index] for index in order[shard::shards]]
        held: list[tuple[Unit, pa.Table | None]] = []
        rows = window = 0
        for position, unit in enumerate(chosen):
            # How many rows it has is known before it is read, but not how many of them are of the part.
            read = None if self._part is None else self._read(unit)
            held.append((unit, read))
            rows += unit[3] if read is None else read.num_rows
            if rows < self._buffer and position < len(chosen) - 1:
                continue
            if rows > skip:
                table = pa.concat_tables([self._read(unit) if read is None else read for unit, read in held])
                shuffled = np.random.default_rng([self._seed, epoch, shard, window]).permutation(rows)
                yield (table.take(shuffled) if self._shuffle else table).slice(skip)
            held, skip, rows, window = [], max(skip - rows, 0), 0, window + 1

    def _read(self, unit: Unit) -> pa.Table:
        file, group, start, count = unit
        wanted = [*self._columns, ROW, *([] if self._part is None else [PART])]
        with pq.ParquetFile(
            self._files.names[file], metadata=self._metadata[file], filesystem=self._files.filesystem, pre_buffer=True
        ) as opened:
            table = opened.read_row_group(group, columns=wanted).slice(start, count)
        if self._part is None:
            return table
        return table.filter(pc.equal(table.column(PART), self._part)).drop_columns(PART)

    def _tensors(self, table: pa.Table) -> Batch:
        found: Batch = {name: _tensor(table.column(name), self._kinds[name]) for name in self._columns}
        return {**found, ROW: _tensor(table.column(ROW), pa.int64())}


def _units(files: Sequence[pq.FileMetaData], shards: int) -> list[Unit]:
    groups = [
        (file, group, metadata.row_group(group).num_rows) for file, metadata in enumerate(files) for group in range(metadata.num_row_groups)
    ]
    pieces = -(-PIECES * shards // len(groups)) if 0 < len(groups) < PIECES * shards else 1
    cut = [(file, group, rows * i // pieces, rows * (i + 1) // pieces) for file, group, rows in groups for i in range(pieces)]
    return [(file, group, start, end - start) for file, group, start, end in cut if end > start]


def _kinds(files: Sequence[pq.FileMetaData], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """The type each column is given: the same for every batch, so one that has room for a NULL wherever there is one."""
    if not files:
        return {}
    schema, nulls = files[0].schema.to_arrow_schema(), dict.fromkeys(columns, 0)
    for metadata in files:
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.path_in_schema in nulls:
                    told = column.statistics is not None and column.statistics.has_null_count
                    nulls[column.path_in_schema] += column.statistics.null_count if told else column.num_values
    return {name: _kind(schema.field(name).type, nulls[name]) for name in columns}


def _kind(kind: pa.DataType, nulls: int) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_decimal(kind) or (nulls and (pa.types.is_integer(kind) or pa.types.is_boolean(kind))):
        return pa.float64()
    return kind


def _tensor(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(column.type):
        values = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).fill_null(-(2**63))
    elif pa.types.is_boolean(column.type) and pa.types.is_floating(kind):
        values = column.cast(pa.int8()).cast(kind)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        values = column.cast(kind)
    else:
        return column.to_pylist()
    return torch.from_numpy(np.array(values.to_numpy()))
