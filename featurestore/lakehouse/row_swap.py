"""Replace rows of a table by the values of one column, and add others, in one commit on exactly the state that a handle shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import FileScanTask, Transaction
from pyiceberg.types import NestedField, PrimitiveType

from featurestore.lakehouse import scans, tables, type_mapping
from featurestore.lakehouse.casting import cast_batches
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import begin, commit, stage_properties
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange, plan_scan
from featurestore.lakehouse.table import Table

METRICS = "write.metadata.metrics.column."
"""The property, with a column's name behind it, of which statistics files have; `full` for bounds that are not cut."""


@dataclass(frozen=True)
class Matched:
    """The data files of a snapshot that have rows with one of the values in a column."""

    column: str
    values: pa.Array
    tasks: tuple[FileScanTask, ...]


def matching(granted: Granted, column: str, values: pa.Array) -> Matched:
    """Find the files that have rows with these values, of the column's type and none of them NULL, in the current snapshot.

    Files whose bounds exclude all values are not read. Raises: NotReady.
    """
    table = granted.table
    if table.snapshot_id is None or not len(values):
        return Matched(column, values, ())
    values = _plain(values)
    ordered = values.take(pc.array_sort_indices(values))
    tasks = scans.snapshot_files(granted, table.snapshot_id)
    found = tuple(task for task in tasks if _may_have(table, task, column, ordered) and _has(granted, task, column, values))
    return Matched(column, values, found)


def everything(granted: Granted) -> Matched:
    """All files of the current snapshot, of which no row is left."""
    table = granted.table
    return Matched("", pa.nulls(0), () if table.snapshot_id is None else tuple(scans.snapshot_files(granted, table.snapshot_id)))


def rows_from(granted: Granted, column: str, lower: pa.Scalar) -> pa.RecordBatchReader:
    """The rows of the current snapshot with at least this value in a column, with all columns. Raises: NotReady."""
    table = granted.table
    schema = type_mapping.arrow_schema(tables.schema_by_id(table, table.schema_id))
    tasks = [] if table.snapshot_id is None else scans.snapshot_files(granted, table.snapshot_id)
    field = table.iceberg.schema().find_field(column)
    late = [
        task for task in tasks if (bound := _bound(task.file.upper_bounds, field, lower.type)) is None or bound.as_py() >= lower.as_py()
    ]
    batches = (batch for task in late for batch in scans.read_file(granted, table.schema_id, task))
    return pa.RecordBatchReader.from_batches(
        schema, (batch.filter(pc.greater_equal(batch.column(column), lower)).cast(schema) for batch in batches)
    )


def matched_rows(granted: Granted, matched: Matched) -> pa.RecordBatchReader:
    """The rows with the values, with all columns. Raises: NotReady."""
    table = granted.table
    schema = type_mapping.arrow_schema(tables.schema_by_id(table, table.schema_id))
    rows = (_filter(batch, matched, keep=True) for task in matched.tasks for batch in scans.read_file(granted, table.schema_id, task))
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in rows))


def without_stored(granted: Granted, rows: pa.Table, column: str, values: pa.Array, within: TimeRange) -> pa.Table:
    """The rows without those that have one of these values in a column, of which the current snapshot has a row at about these times.

    Files outside of the times, or whose bounds exclude all values, are not read. Raises: NotReady.
    """
    table, values = granted.table, _plain(values)
    assert table.snapshot_id is not None
    ordered, known = values.take(pc.array_sort_indices(values)), set[Any]()
    for task in plan_scan(granted, table.snapshot_id, within):
        if _may_have(table, task, column, ordered):
            for batch in scans.read_file(granted, table.schema_id, task, [column]):
                stored = _plain(batch.column(0))
                known.update(stored.filter(pc.is_in(stored, value_set=values, skip_nulls=True)).to_pylist())
    found = pa.array(list(known), values.type)
    parts = [batch.filter(pc.invert(pc.is_in(_plain(batch.column(column)), value_set=found))) for batch in rows.to_batches()]
    return pa.Table.from_batches(parts, rows.schema)


def swap(
    granted: Granted,
    matched: Matched | None,
    added: Sequence[pa.RecordBatchReader],
    *,
    summary: Mapping[str, str],
    properties: Mapping[str, str],
) -> int | None:
    """Delete the matched rows, add others, and set properties, in one commit; the handle then shows the new state.

    Each stream becomes files of its own. Files with matched rows are written again without them, one after the other. Returns the new
    snapshot's id; None if there was nothing to delete or add, and only changed properties are committed.
    Raises: CommitConflict if another writer was first; TypeMismatch or RequestError naming a column; OutOfResources. Nothing was written
    then, and no file is left.
    """
    table = granted.table
    schema = type_mapping.arrow_schema(table.iceberg.schema(), ids=True)
    files, tasks = DataFiles(table, schema), () if matched is None else matched.tasks
    with files.discard_on(BaseException):
        for reader in added:
            _write(files, cast_batches(reader, schema, table.name))
        for task in tasks:
            assert matched is not None
            if matched.column:
                _write(files, _kept_rows(granted, task, matched, schema))
    if not tasks and not files.rows:
        files.discard()
        tables.set_properties(table, properties)
        return None
    return _commit(table, files, tasks, summary, properties)


def _write(files: DataFiles, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a stream to a file; none for a stream without rows."""
    rows = iter(batches)
    first = next((batch for batch in rows if batch.num_rows), None)
    if first is not None:
        files.write(_chain(first, rows))


def _chain(first: pa.RecordBatch, rest: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _kept_rows(granted: Granted, task: FileScanTask, matched: Matched, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = scans.read_file(granted, granted.table.schema_id, task)
    kept = pa.RecordBatchReader.from_batches(rows.schema, (_filter(batch, matched, keep=False) for batch in rows))
    return cast_batches(kept, schema, granted.name)


def _filter(batch: pa.RecordBatch, matched: Matched, *, keep: bool) -> pa.RecordBatch:
    found = pc.is_in(_plain(batch.column(matched.column)), value_set=matched.values, skip_nulls=True)
    return batch.filter(found if keep else pc.invert(found))


def _may_have(table: Table, task: FileScanTask, column: str, ordered: pa.Array) -> bool:
    """Whether a value lies within the file's bounds of the column."""
    field = table.iceberg.schema().find_field(column)
    lower, upper = (_bound(side, field, ordered.type) for side in (task.file.lower_bounds, task.file.upper_bounds))
    if lower is None or upper is None:
        return True
    return bool(pc.any(pc.and_(pc.greater_equal(ordered, lower), pc.less_equal(ordered, upper))).as_py())


def _plain(array: pa.Array) -> pa.Array:
    """The array without an extension type, which Arrow does not compute with."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _bound(bounds: Mapping[int, bytes] | None, field: NestedField, arrow_type: pa.DataType) -> pa.Scalar | None:
    """A file's bound of a column; None if the file does not have it."""
    raw = (bounds or {}).get(field.field_id)
    if raw is None:
        return None
    assert isinstance(field.field_type, PrimitiveType)
    value = from_bytes(field.field_type, raw)
    if pa.types.is_timestamp(arrow_type):
        return pa.scalar(value, pa.int64()).cast(arrow_type)
    return pa.scalar(value, pa.int32()).cast(arrow_type) if pa.types.is_date(arrow_type) else pa.scalar(value, arrow_type)


def _has(granted: Granted, task: FileScanTask, column: str, values: pa.Array) -> bool:
    rows = scans.read_file(granted, granted.table.schema_id, task, [column])
    return any(pc.any(pc.is_in(_plain(batch.column(0)), value_set=values, skip_nulls=True)).as_py() for batch in rows)


def _commit(
    table: Table, files: DataFiles, tasks: Sequence[FileScanTask], summary: Mapping[str, str], properties: Mapping[str, str]
) -> int:
    made = 0

    def stage(fresh: Table) -> Transaction:
        nonlocal made
        with translating_errors(f"writing the metadata of {table.name}"):
            transaction = begin(fresh)
            stage_properties(transaction, fresh, properties)
            update = transaction.update_snapshot(snapshot_properties=dict(summary))
            with update.overwrite() if tasks else update.merge_append() as snapshot:
                if tasks:
                    # Without a filter pyiceberg would skip every manifest of an unpartitioned table when it looks for the files to drop.
                    snapshot.delete_by_predicate(AlwaysTrue())
                for task in tasks:
                    snapshot.delete_data_file(task.file)
                for file in files.data_files(transaction.table_metadata):
                    snapshot.append_data_file(file)
        made = snapshot.snapshot_id
        return transaction

    with files.discard_on(BaseException):
        commit(table, stage, attempts=1, undone="nothing was written", sending=files.sending_commit)
    return made
