"""Read the rows of a training set from its table, at its snapshot."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.query import all_rows
from featurestore.compiler.relations import Handle, IcebergFiles
from featurestore.engine.session import Relation, Session
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.splits import PART
from featurestore.records.runtime import Runtime

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class StoredRows:
    """A snapshot of a training set's table. `names` are the training set's columns in order, without internal ones."""

    runtime: Runtime
    granted: Granted
    snapshot_id: int
    names: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The table."""
        return self.granted.table

    @property
    def schema(self) -> pa.Schema:
        """The schema of the training set's columns."""
        stored = tables.arrow_schema(self.table, self.snapshot_id)
        return pa.schema([stored.field(stored.names.index(name)) for name in self.names])

    def read(self, part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Read the rows in spine order, all or those of one part of the split. `columns` None: the training set's columns."""
        stored = tables.arrow_schema(self.table, self.snapshot_id)
        names = self.names if columns is None else columns
        target = pa.schema([stored.field(stored.names.index(name)) for name in names])
        return pa.RecordBatchReader.from_batches(target, self._batches(part, target))

    def files(self) -> Files:
        """The data files, in the order of their rows."""
        addresses, filesystem = scans.ordered_file_paths(self.granted, self.snapshot_id, ROW)
        schema = tables.arrow_schema(self.table, self.snapshot_id)
        return Files(addresses, self.table.name, self.snapshot_id, filesystem, schema)

    def columns(self) -> dict[str, str]:
        """DuckDB's name for each column of the table: there, names may not differ in case only."""
        return {name: f"c{index}" for index, name in enumerate(tables.arrow_schema(self.table, self.snapshot_id).names)}

    def relation(self, names: Sequence[str]) -> Relation:
        """These columns of all rows, with the column names of `columns`."""
        scan = scans.scan_snapshot(self.granted, self.snapshot_id, columns=names)
        columns = self.columns()
        if isinstance(scan, IcebergFiles):
            return replace(scan, columns=tuple(replace(column, name=columns[column.name]) for column in scan.columns))
        schema = pa.schema([field.with_name(columns[field.name]) for field in scan.schema])
        return pa.RecordBatchReader.from_batches(schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in scan))

    @contextmanager
    def session(self, names: Sequence[str]) -> Iterator[tuple[Session, Callable[[Sequence[str]], Handle]]]:
        """A session, and a function that returns all rows in it with some of these columns, which can be read any number of times.

        The relation has these columns only, since DuckDB looks at all columns of the relations that a query reads.
        """
        relation = self.relation(names)
        with self.runtime.engine.session(data_folders(self.granted)) as session:
            if isinstance(relation, IcebergFiles):
                by_name = dict(zip(names, relation.columns, strict=True))
                yield session, lambda some: session.add("rows", replace(relation, columns=tuple(by_name[name] for name in some)))
            else:
                rows = session.create_table("rows", all_rows(session.add("rows_once", relation)))
                yield session, lambda some: rows

    def _batches(self, part: str | None, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        names = [*(name for name in target.names if name != ROW), ROW]
        where = None if part is None else pc.field(PART) == part
        dataset = self.files().dataset()
        # Each row group is scanned separately: a single scan reads up to a gigabyte ahead of a slow reader, such as a remote client.
        # The rows are stored in order, so nothing is sorted or buffered.
        groups = dataset.get_fragments(where)
        scans = (group.scanner(dataset.schema, columns=names, filter=where, batch_size=BATCH_ROWS) for group in groups)
        last = -1
        for batch in (batch for scan in scans for batch in scan.to_reader()):
            if not batch.num_rows:
                continue
            numbers = batch.column(ROW).to_numpy()
            if numbers[0] <= last or (numbers[1:] <= numbers[:-1]).any():
                raise FeatureStoreError(f"the rows of {self.table.name} are not stored in row order; build it again")
            last = numbers[-1]
            yield cast_batch(batch, target, self.table.name)
