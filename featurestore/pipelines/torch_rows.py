"""A training set for torch: every row exactly once an epoch, over all ranks and workers, in an order that a seed decides."""

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
from featurestore.pipelines.splits import PART

POSITION = "__fs_position"
PIECES = 4
"""At least so many pieces of files for each shard, so that none is left without rows."""

Batch: TypeAlias = dict[str, Any]
Unit: TypeAlias = tuple[str, int, int, int]
"""A path, a row group in it, the first of its rows and how many."""


class TorchRows(IterableDataset):
    """Batches as dicts of tensors, for a DataLoader with `batch_size=None`.

    Numbers are tensors of their own kind, integers and truths with a NULL anywhere float64 with NaN; decimals are float64, times
    int64 microseconds (NULL: the least one); all else are lists. `__fs_row` has the rows' numbers in spine order, `__fs_position`
    the shard and the batch's number in it. Call `set_epoch` before each epoch. A shard is a worker of a rank.
    """

    def __init__(
        self,
        paths: Sequence[str],
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
        self._paths, self._columns, self._part = list(paths), list(columns), part
        self._rows, self._shuffle, self._seed, self._buffer = rows, shuffle, seed, buffer
        self._rank, self._world = rank, world
        self._epoch = 0
        self._taken: dict[int, int] = {}
        self._start: dict[int, int] = {}
        self._shards: int | None = None
        self._kinds = _kinds(self._paths, self._columns)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: another order, from its first row."""
        self._epoch, self._taken, self._start, self._shards = epoch, {}, {}, None

    def taken(self, batch: Mapping[str, Any]) -> None:
        """Note that a batch has been learned from. Needed where a DataLoader has workers: they are other processes."""
        shard, number, shards = batch[POSITION].tolist()
        self._taken[shard], self._shards = number + 1, shards

    def state_dict(self) -> dict[str, Any]:
        """Where this rank stands, JSON-ready: for `load_state_dict`."""
        taken = {str(shard): number for shard, number in (self._start | self._taken).items()}
        return {"epoch": self._epoch, "seed": self._seed, "rows": self._rows, "shards": self._shards, "taken": taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches of a state; they are read over. Raises: RequestError for a state of another seed or batch size."""
        for name, own in (("seed", self._seed), ("rows", self._rows)):
            if state[name] != own:
                raise RequestError(f"the state is of {name}={state[name]}, this reader has {name}={own}; give it the same", field=name)
        self._epoch, self._shards, self._taken = int(state["epoch"]), state["shards"], {}
        self._start = {int(shard): int(number) for shard, number in state["taken"].items()}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        workers, own = (1, 0) if worker is None else (worker.num_workers, worker.id)
        shards, shard = self._world * workers, self._rank * workers + own
        if self._shards not in (None, shards):
            raise RequestError(f"the state is of {self._shards} workers over all ranks, there are {shards} now; use as many, or set_epoch")
        for number, table in enumerate(self._batches(shard, shards)):
            if number >= self._start.get(shard, 0):
                self._taken[shard], self._shards = number + 1, shards
                yield {**self._tensors(table), POSITION: torch.tensor([shard, number, shards])}

    def _batches(self, shard: int, shards: int) -> Iterator[pa.Table]:
        held: pa.Table | None = None
        for window in self._windows(shard, shards):
            held = window if held is None else pa.concat_tables([held, window])
            whole = held.num_rows - held.num_rows % self._rows
            for start in range(0, whole, self._rows):
                yield held.slice(start, self._rows)
            held = held.slice(whole)
        if held is not None and held.num_rows:
            yield held

    def _windows(self, shard: int, shards: int) -> Iterator[pa.Table]:
        """Pieces in a chosen order, of which as many as the buffer holds are shuffled row by row."""
        units = _units(self._paths, shards)
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(units)) if self._shuffle else np.arange(len(units))
        chosen = [units[index] for index in order[shard::shards]]
        held: list[pa.Table] = []
        window = 0
        for position, unit in enumerate(chosen):
            held.append(self._read(unit))
            if sum(table.num_rows for table in held) >= self._buffer or position == len(chosen) - 1:
                table = pa.concat_tables(held)
                shuffled = np.random.default_rng([self._seed, self._epoch, shard, window]).permutation(table.num_rows)
                yield table.take(shuffled) if self._shuffle else table
                held, window = [], window + 1

    def _read(self, unit: Unit) -> pa.Table:
        path, group, start, count = unit
        wanted = [*self._columns, ROW, *([] if self._part is None else [PART])]
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(group, columns=wanted).slice(start, count)
        if self._part is None:
            return table
        return table.filter(pc.equal(table.column(PART), self._part)).drop_columns(PART)

    def _tensors(self, table: pa.Table) -> Batch:
        found: Batch = {name: _tensor(table.column(name), self._kinds[name]) for name in self._columns}
        return {**found, ROW: torch.from_numpy(table.column(ROW).to_numpy())}


def _units(paths: Sequence[str], shards: int) -> list[Unit]:
    groups = []
    for path in paths:
        metadata = pq.read_metadata(path)
        groups += [(path, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    pieces = -(-PIECES * shards // len(groups)) if len(groups) < PIECES * shards else 1
    cut = [(path, group, rows * i // pieces, rows * (i + 1) // pieces) for path, group, rows in groups for i in range(pieces)]
    return [(path, group, start, end - start) for path, group, start, end in cut if end > start]


def _kinds(paths: Sequence[str], columns: Sequence[str]) -> dict[str, pa.DataType]:
    """The type each column is given: the same for every batch, so one that has room for a NULL wherever there is one."""
    schema = pq.read_schema(paths[0])
    nulls = dict.fromkeys(columns, 0)
    for path in paths:
        metadata = pq.read_metadata(path)
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
