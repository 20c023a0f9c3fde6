"""The rows of a training set as they lie in its table, at its snapshot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.relations import IcebergFiles
from featurestore.engine.session import Relation, Session
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.folders import data_folders
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.splits import PART
from featurestore.records.runtime import Runtime

ROWS = "rows"
"""The relation in which a session has them."""
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class StoredRows:
    """A snapshot of a training set's table; `names` are the columns that people see, in order."""

    runtime: Runtime
    table: tables.Table
    snapshot_id: int
    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns that people see."""
        stored = tables.arrow_schema(self.table, self.snapshot_id)
        return pa.schema([stored.field(stored.names.index(name)) for name in self.names])

    def read(self, part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The rows in spine order, all or those of one part of the split, anew at each call; `columns` None: those that people see."""
        stored = tables.arrow_schema(self.table, self.snapshot_id)
        names = self.names if columns is None else columns
        target = pa.schema([stored.field(stored.names.index(name)) for name in names])
        return pa.RecordBatchReader.from_batches(target, self._batches(part, target))

    def files(self) -> Files:
        """The data files, in the order of their rows."""
        addresses, filesystem = scans.ordered_file_paths(self.table, self.snapshot_id, ROW)
        schema = tables.arrow_schema(self.table, self.snapshot_id)
        return Files(addresses, ".".join(self.table.name()), self.snapshot_id, filesystem, schema)

    def columns(self) -> dict[str, str]:
        """What a column of the table is called in the engine: there they may not differ in case only."""
        return {name: f"c{index}" for index, name in enumerate(tables.arrow_schema(self.table, self.snapshot_id).names)}

    def relation(self) -> Relation:
        """All rows, with the columns' names of the engine."""
        found = scans.scan_snapshot(self.table, self.snapshot_id)
        if isinstance(found, IcebergFiles):
            return replace(found, columns=tuple(replace(column, name=f"c{index}") for index, column in enumerate(found.columns)))
        schema = pa.schema([field.with_name(f"c{index}") for index, field in enumerate(found.schema)])
        return pa.RecordBatchReader.from_batches(schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in found))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that has the rows as `ROWS`, to be read as often as one likes."""
        relation = self.relation()
        with self.runtime.engine.session(data_folders(self.table)) as session:
            if isinstance(relation, IcebergFiles):
                session.add(ROWS, relation)
            else:
                session.add(f"{ROWS}_once", relation)
                session.run(f"CREATE TEMP TABLE {ROWS} AS SELECT * FROM {ROWS}_once")
            yield session

    def _batches(self, part: str | None, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = [*(name for name in target.names if name != ROW), ROW]
        where = None if part is None else pc.field(PART) == part
        dataset = self.files().dataset()
        # A scan of its own for each row group: one of all runs up to a gigabyte ahead of a reader that is slow, such as a client far away.
        # The rows lie in order, so nothing is sorted, and nothing held.
        groups = dataset.get_fragments(where)
        scans = (group.scanner(dataset.schema, columns=wanted, filter=where, batch_size=BATCH_ROWS) for group in groups)
        last = -1
        for batch in (batch for scan in scans for batch in scan.to_reader()):
            if not batch.num_rows:
                continue
            numbers = batch.column(ROW).to_numpy()
            if numbers[0] <= last or (numbers[1:] <= numbers[:-1]).any():
                raise FeatureStoreError(f"the rows of {'.'.join(self.table.name())} do not lie in their order; build it again")
            last = numbers[-1]
            yield cast_batch(batch, target, ".".join(self.table.name()))
