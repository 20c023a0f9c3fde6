"""Write rows to a table: data files first, then one commit that adds all of them, or on failure leaves none."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, EqualTo
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Transaction
from pyiceberg.table.update import AddSchemaUpdate, AssertLastAssignedFieldId, AssertRefSnapshotId, AssertTableUUID, SetCurrentSchemaUpdate
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import IcebergType, ListType, NestedField

from featurestore.compiler.relations import FieldId
from featurestore.errors import Conflict, RequestError
from featurestore.lakehouse import tables, type_mapping
from featurestore.lakehouse.casting import cast_batches
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import ATTEMPTS, begin, commit, stage_properties
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.local_io import preload
from featurestore.lakehouse.requirements import StagedUpdates, add_requirements, as_loaded
from featurestore.lakehouse.table import Table

OPERATION = "featurestore.action"
"""The key in a snapshot's summary with what its writer did; materializations have none."""
BATCH_ID = "featurestore.batch-id"
"""The key in a snapshot's summary with the id of rows that must be added only once."""


def append(
    table: Table,
    batches: pa.RecordBatchReader,
    *,
    summary: Mapping[str, str],
    properties: Mapping[str, str] | None = None,
    month_of: str | None = None,
) -> int | None:
    """Add rows and set table properties in one commit on exactly the state that the handle shows; the handle then shows the new one.

    Rows are streamed into one data file per month of `month_of` (rows must be ordered by that month; default: the column that the
    table is partitioned by). Returns the new snapshot's id; None if there were no rows: then only changed properties are committed.
    Raises: CommitConflict if another writer was first; TypeMismatch or RequestError naming a column; OutOfResources. In each case
    nothing was written and no file is left.
    """
    return append_files(table, _write_files(table, [batches], month_of), summary=summary, properties=properties or {})


def append_files(
    table: Table, files: DataFiles, *, summary: Mapping[str, str], properties: Mapping[str, str], drop: Collection[str] = ()
) -> int | None:
    """As `append`, for files that are already written; the same commit removes the properties in `drop`."""
    if not files.rows:
        tables.set_properties(table, properties, drop)
        return None
    return _commit_files(table, files, summary, properties, drop, attempts=1)


def append_retrying(
    table: Table,
    batches: pa.RecordBatchReader | Sequence[pa.RecordBatchReader],
    *,
    summary: Mapping[str, str] | None = None,
    month_of: str | None = None,
    once: str | None = None,
    quick: bool = False,
) -> int | None:
    """Append rows that do not depend on the table's state (a log, a registry), whatever other writers commit meanwhile.

    Several streams are written at the same time. `once` is an id of these rows, stored in the snapshot's summary: nothing is added if a
    snapshot of the table has it. `quick` as in `DataFiles`.
    Returns the new snapshot's id; None if nothing was added. Raises: as `append`.
    """
    if once is not None and has_batch(table, once):
        return None
    parts = [batches] if isinstance(batches, pa.RecordBatchReader) else batches
    files = _write_files(table, parts, month_of, quick=quick)
    all_summary = {**(summary or {}), **({} if once is None else {BATCH_ID: once})}
    return _commit_files(table, files, all_summary, {}, (), attempts=ATTEMPTS, once=once) if files.rows else None


def delete_rows(table: Table, column: str, value: str, *, summary: Mapping[str, str]) -> bool:
    """Delete the rows with a text in a column, whatever other writers commit meanwhile; earlier snapshots still have them.

    Returns whether there were any. Raises: CommitConflict after too many conflicts.
    """
    deleted = False

    def stage(fresh: Table) -> Transaction | None:
        nonlocal deleted
        condition = EqualTo(column, value)  # type: ignore[call-arg, arg-type]
        deleted = fresh.iceberg.scan(row_filter=condition, selected_fields=(column,)).to_arrow().num_rows > 0
        if not deleted:
            return None
        with translating_errors(f"deleting rows of {table.name}"):
            transaction = begin(fresh)
            transaction.delete(condition, snapshot_properties=dict(summary))
        return transaction

    commit(table, stage, undone="no row was deleted")
    return deleted


def has_batch(table: Table, id: str) -> bool:
    """Whether a snapshot of the table says that it added the rows with this id."""
    return any(snapshot.summary is not None and snapshot.summary.get(BATCH_ID) == id for snapshot in table.iceberg.snapshots())


def new_data_files(table: Table) -> DataFiles:
    """An empty set of data files of the table, to be filled and passed to `append_files`."""
    return DataFiles(table, type_mapping.arrow_schema(table.iceberg.schema(), ids=True))


def field_ids(table: Table) -> dict[str, FieldId]:
    """The field ids of the table's columns, for writing its Parquet files."""
    return {field.name: _field_id(field.field_id, field.field_type) for field in table.iceberg.schema().fields}


def _write_files(table: Table, parts: Sequence[pa.RecordBatchReader], month_of: str | None, *, quick: bool = False) -> DataFiles:
    schema = type_mapping.arrow_schema(table.iceberg.schema(), ids=True)
    rows = [cast_batches(part, schema, table.name, keep_dictionaries=quick) for part in parts]
    files, column = DataFiles(table, schema, quick=quick), month_of or _partition_column(table)
    return files.write_together(rows, column) if len(rows) > 1 else files.write(rows[0], column)


def _commit_files(
    table: Table,
    files: DataFiles,
    summary: Mapping[str, str],
    properties: Mapping[str, str],
    drop: Collection[str],
    attempts: int,
    once: str | None = None,
) -> int | None:
    snapshot_id = 0

    def stage(fresh: Table) -> Transaction | None:
        nonlocal snapshot_id
        if once is not None and has_batch(fresh, once):
            return None
        with translating_errors(f"writing the metadata of {table.name}"):
            transaction = begin(fresh)
            stage_properties(transaction, fresh, properties, drop)
            with transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append() as snapshot:
                for file in files.data_files(transaction.table_metadata):
                    snapshot.append_data_file(file)
        snapshot_id = snapshot.snapshot_id
        return transaction

    with files.discard_on(BaseException):
        done = commit(table, stage, attempts=attempts, undone="nothing was written", sending=files.sending_commit)
    if not done:
        files.discard()
        return None
    return snapshot_id


def _field_id(field_id: int, iceberg_type: IcebergType) -> FieldId:
    return (field_id, _field_id(iceberg_type.element_id, iceberg_type.element_type)) if isinstance(iceberg_type, ListType) else field_id


def _partition_column(table: Table) -> str | None:
    fields = table.iceberg.spec().fields
    if not fields:
        return None
    if len(fields) == 1 and isinstance(fields[0].transform, MonthTransform):
        return table.iceberg.schema().find_column_name(fields[0].source_id)
    raise RequestError(f"{table.name} is partitioned by {table.iceberg.spec()}; rows can be added to tables partitioned by month")


def replace_rows(
    table: Table,
    batches: pa.RecordBatchReader,
    *,
    summary: Mapping[str, str] | Callable[[], Mapping[str, str]],
    tag: str,
) -> int:
    """Replace the table's content with these rows, in this order and with these columns: one snapshot, tagged in the same commit.

    A column of the same name and type as before keeps its field id. `summary` may be a function, which is called after the last row is
    written. Older snapshots are unchanged. Returns the new snapshot's id, which the handle then shows.
    Raises: Conflict if the tag exists; TypeMismatch or RequestError naming a column; OutOfResources. No file is left then.
    """
    identifier = table.name
    if tag in table.iceberg.refs():
        raise Conflict(f"{identifier} has a tag {tag!r} already", table=identifier, tag=tag)
    schema = _registered_schema(table, batches.schema)
    arrow = type_mapping.arrow_schema(schema, ids=True)
    files = DataFiles(table, arrow).write(cast_batches(batches, arrow, identifier))
    with files.discard_on(BaseException):
        final_summary = summary() if callable(summary) else summary
    snapshot_id = 0

    def stage(fresh: Table) -> Transaction:
        nonlocal snapshot_id
        if tag in fresh.iceberg.refs():
            raise Conflict(f"{identifier} has a tag {tag!r} already", table=identifier, tag=tag)
        with translating_errors(f"writing the metadata of {identifier}"):
            transaction, snapshot_id = _replacement(fresh, schema.schema_id, files, final_summary, tag)
        return transaction

    with files.discard_on(BaseException):
        commit(table, stage, undone="nothing was written", sending=files.sending_commit)
    return snapshot_id


def _registered_schema(table: Table, arrow: pa.Schema) -> Schema:
    """The table's schema with exactly these columns, added to its metadata if necessary.

    It does not become the current schema yet. A registered schema never changes, so files can be written with its field ids, whatever
    other builds do meanwhile.
    """
    columns = [(field.name, field.field_type) for field in type_mapping.iceberg_schema(arrow).fields]
    registered: Schema | None = None

    def stage(fresh: Table) -> Transaction | None:
        nonlocal registered
        for schema in sorted(fresh.iceberg.schemas().values(), key=lambda schema: -schema.schema_id):
            if [(field.name, _shape(field.field_type)) for field in schema.fields] == [
                (name, _shape(iceberg_type)) for name, iceberg_type in columns
            ]:
                registered = schema
                return None
        transaction = begin(fresh)
        last = AssertLastAssignedFieldId(last_assigned_field_id=fresh.iceberg.metadata.last_column_id)  # type: ignore[call-arg]
        requirements = (AssertTableUUID(uuid=fresh.iceberg.metadata.table_uuid), last, *as_loaded(fresh, schemas=True))
        registered = _new_schema(fresh, arrow)
        addition = AddSchemaUpdate(schema_=registered)  # type: ignore[call-arg]
        StagedUpdates(transaction, (addition,), requirements).commit()
        return transaction

    # A server may assign another schema id than the requested one.
    while commit(table, stage, undone="nothing was written"):
        continue
    if registered is None:
        raise AssertionError("the loop ends only when the schema is found")
    return registered


def _new_schema(table: Table, arrow: pa.Schema) -> Schema:
    known_fields: dict[tuple[str, pa.DataType], NestedField] = {}
    for schema in sorted(table.iceberg.schemas().values(), key=lambda schema: schema.schema_id):
        known_fields |= {(field.name, _shape(field.field_type)): field for field in schema.fields}
    new_ids = iter(range(table.iceberg.metadata.last_column_id + 1, 2**31))
    fields = []
    for column in arrow:
        iceberg_type = type_mapping.iceberg_type(column.type, new_ids, column.name)
        field = known_fields.get((column.name, _shape(iceberg_type)))
        fields.append(field or NestedField(next(new_ids), column.name, iceberg_type, required=False))
    return Schema(*fields, schema_id=max(table.iceberg.schemas()) + 1)


def _shape(iceberg_type: IcebergType) -> pa.DataType:
    # Iceberg types with different nested ids are not equal; their Arrow types are.
    return type_mapping.arrow_of_iceberg(iceberg_type)


def _replacement(table: Table, schema_id: int, files: DataFiles, summary: Mapping[str, str], tag: str) -> tuple[Transaction, int]:
    transaction = begin(table)
    chosen = SetCurrentSchemaUpdate(schema_id=schema_id)  # type: ignore[call-arg]
    StagedUpdates(transaction, (chosen,), as_loaded(table, free_refs=[tag])).commit()
    with transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite() as snapshot:
        # Without a filter pyiceberg would skip every manifest of an unpartitioned table when it looks for the files to drop.
        snapshot.delete_by_predicate(AlwaysTrue())
        for file in _current_files(table):
            snapshot.delete_data_file(file)
        for file in files.data_files(transaction.table_metadata):
            snapshot.append_data_file(file)
    ManageSnapshots(transaction).create_tag(snapshot.snapshot_id, tag).commit()
    # The transaction keeps one requirement of each type, and the branch's comes first. In a table without snapshots that one is enough.
    if table.iceberg.current_snapshot() is not None:
        add_requirements(transaction, AssertRefSnapshotId(ref=tag, snapshot_id=None))  # type: ignore[call-arg]
    return transaction, snapshot.snapshot_id


def _current_files(table: Table) -> list[DataFile]:
    current = table.iceberg.current_snapshot()
    manifests: list[Any] = current.manifests(table.iceberg.io) if current else []
    data = [manifest for manifest in manifests if manifest.content == ManifestContent.DATA]
    preload(table.iceberg.io, [manifest.manifest_path for manifest in data])
    return [entry.data_file for manifest in data for entry in manifest.fetch_manifest_entry(table.iceberg.io, discard_deleted=True)]
