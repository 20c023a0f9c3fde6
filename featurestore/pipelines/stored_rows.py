"""The rows of a training set as they lie in its table, at its snapshot."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.compiler.expressions import literal
from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.relations import IcebergFiles
from featurestore.engine.session import Relation, Session
from featurestore.lakehouse import scans, tables
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.splits import PART

ROWS = "rows"
"""The relation in which a session has them."""


@dataclass(frozen=True)
class StoredRows:
    """A snapshot of a training set's table; `names` are the columns that people see, in order."""

    parts: Parts
    table: tables.Table
    snapshot_id: int
    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns that people see."""
        stored = tables.arrow_schema(self.table, self.snapshot_id)
        return pa.schema([stored.field(stored.names.index(name)) for name in self.names])

    def read(self, part: str | None = None) -> pa.RecordBatchReader:
        """The rows in spine order, all or those of one part of the split, anew at each call."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches(part))

    def files(self) -> list[str]:
        """The data files on this machine."""
        found = scans.scan(self.table, self.snapshot_id)
        return list(found.paths) if isinstance(found, IcebergFiles) else []

    def columns(self) -> dict[str, str]:
        """What a column of the table is called in the engine: there they may not differ in case only."""
        return {name: f"c{index}" for index, name in enumerate(tables.arrow_schema(self.table, self.snapshot_id).names)}

    def relation(self) -> Relation:
        """All rows, with the columns' names of the engine."""
        found = scans.scan(self.table, self.snapshot_id)
        if isinstance(found, IcebergFiles):
            return replace(found, columns=tuple(replace(column, name=f"c{index}") for index, column in enumerate(found.columns)))
        schema = pa.schema([field.with_name(f"c{index}") for index, field in enumerate(found.schema)])
        return pa.RecordBatchReader.from_batches(schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in found))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that has the rows as `ROWS`, to be read as often as one likes."""
        relation = self.relation()
        with self.parts.engine.session() as session:
            if isinstance(relation, IcebergFiles):
                session.add(ROWS, relation)
            else:
                session.add(f"{ROWS}_once", relation)
                session.run(f"CREATE TEMP TABLE {ROWS} AS SELECT * FROM {ROWS}_once")
            yield session

    def _batches(self, part: str | None) -> Iterator[pa.RecordBatch]:
        own, target = self.columns(), self.schema
        select = ", ".join(own[name] for name in self.names)
        where = "" if part is None else f" WHERE {own[PART]} = {literal(part)}"
        with self.parts.engine.session() as session:
            session.add(ROWS, self.relation())
            for batch in session.batches(f"SELECT {select} FROM {ROWS}{where} ORDER BY {own[ROW]}"):
                yield pa.RecordBatch.from_arrays(
                    [column.cast(field.type) for column, field in zip(batch.columns, target, strict=True)], schema=target
                )
