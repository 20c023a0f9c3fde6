"""Rows go in as files: data files first, then one commit that either sees them all or, failing, leaves none."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import AddSchemaUpdate, AssertLastAssignedFieldId, AssertRefSnapshotId, AssertTableUUID, SetCurrentSchemaUpdate
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import IcebergType, ListType, NestedField

from featurestore.compiler.relations import FieldId
from featurestore.errors import Conflict, RequestError
from featurestore.lakehouse import tables, types
from featurestore.lakehouse.casting import fitted
from featurestore.lakehouse.commits import ATTEMPTS, begin, commit, named, stage_properties
from featurestore.lakehouse.files import DataFiles
from featurestore.lakehouse.reaching import reaching
from featurestore.lakehouse.requirements import Staged, as_loaded, require

BATCH_ID = "featurestore.batch-id"
"""The summary of a snapshot whose rows are to be there once has their id under it."""


def append(
    table: Table,
    batches: pa.RecordBatchReader,
    *,
    summary: Mapping[str, str],
    properties: Mapping[str, str] | None = None,
    month_of: str | None = None,
) -> int | None:
    """Add rows and set table properties in one commit on exactly the state that the handle shows; the handle then shows the new one.

    The rows are streamed, a data file for each month of `month_of` (rows come ordered by that month; by default the column that the
    table is partitioned by). Returns the new snapshot's id; None if there were no rows: then only properties that differ are committed.
    Raises: CommitConflict if another writer was first; TypeMismatch or RequestError naming a column; OutOfResources. In all of
    these nothing was written and no file is left.
    """
    return append_files(table, _written(table, batches, month_of), summary=summary, properties=properties or {})


def append_files(
    table: Table, files: DataFiles, *, summary: Mapping[str, str], properties: Mapping[str, str], drop: Collection[str] = ()
) -> int | None:
    """As `append`, of files that are written already; in the same commit the properties `drop` are removed."""
    if not files.rows:
        tables.set_properties(table, properties, drop)
        return None
    return _committed(table, files, summary, properties, drop, attempts=1)


def append_retrying(
    table: Table,
    batches: pa.RecordBatchReader,
    *,
    summary: Mapping[str, str] | None = None,
    month_of: str | None = None,
    once: str | None = None,
) -> int | None:
    """Add rows that are independent facts (a log, a registry): commits that came in between do not matter.

    `once` is an id of these rows, kept in the snapshot's summary: where a snapshot of the table has it, they are there already.
    Returns the new snapshot's id; None if nothing was added. Raises: as `append`.
    """
    if once is not None and _has_batch(table, once):
        return None
    files = _written(table, batches, month_of)
    told = {**(summary or {}), **({} if once is None else {BATCH_ID: once})}
    return _committed(table, files, told, {}, (), attempts=ATTEMPTS, once=once) if files.rows else None


def _has_batch(table: Table, id: str) -> bool:
    return any(snapshot.summary is not None and snapshot.summary.get(BATCH_ID) == id for snapshot in table.snapshots())


def data_files(table: Table) -> DataFiles:
    """An empty set of files to write rows of the table to, for `append_files`."""
    return DataFiles(table, types.arrow_schema(table.schema(), ids=True))


def field_ids(table: Table) -> dict[str, FieldId]:
    """The field ids of the table's columns, as its Parquet files must carry them."""
    return {field.name: _field_id(field.field_id, field.field_type) for field in table.schema().fields}


def _written(table: Table, batches: pa.RecordBatchReader, month_of: str | None) -> DataFiles:
    schema = types.arrow_schema(table.schema(), ids=True)
    rows = fitted(batches, schema, ".".join(table.name()))
    return DataFiles(table, schema).write(rows, month_of or _partition_column(table))


def _committed(
    table: Table,
    files: DataFiles,
    summary: Mapping[str, str],
    properties: Mapping[str, str],
    drop: Collection[str],
    attempts: int,
    once: str | None = None,
) -> int | None:
    made = 0

    def stage(fresh: Table) -> Transaction | None:
        nonlocal made
        if once is not None and _has_batch(fresh, once):
            return None
        with reaching(f"writing the metadata of {'.'.join(table.name())}"):
            transaction = begin(fresh)
            stage_properties(transaction, fresh, properties, drop)
            with transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append() as snapshot:
                for file in files.data_files(transaction.table_metadata):
                    snapshot.append_data_file(file)
        made = snapshot.snapshot_id
        return transaction

    with files.discarded_on(BaseException):
        done = commit(table, stage, attempts=attempts, undone="nothing was written", sending=files.sent)
    if not done:
        files.discard()
        return None
    return made


def _field_id(own: int, kind: IcebergType) -> FieldId:
    return (own, _field_id(kind.element_id, kind.element_type)) if isinstance(kind, ListType) else own


def _partition_column(table: Table) -> str | None:
    fields = table.spec().fields
    if not fields:
        return None
    if len(fields) == 1 and isinstance(fields[0].transform, MonthTransform):
        return table.schema().find_column_name(fields[0].source_id)
    raise RequestError(f"{'.'.join(table.name())} is partitioned by {table.spec()}; rows can be added to tables partitioned by month")


def replace(
    table: Table,
    batches: pa.RecordBatchReader,
    *,
    summary: Mapping[str, str] | Callable[[], Mapping[str, str]],
    tag: str,
) -> int:
    """Make these rows, in this order and with these columns, the table's content: one snapshot, tagged in the same commit.

    A column of the same name and type as before keeps its field id. `summary` may be a
    function: it is called when the last row is written. Older snapshots stay as they are. Returns the new snapshot's id,
    which the handle shows.
    Raises: Conflict if the tag exists; TypeMismatch or RequestError naming a column; OutOfResources. Then no file is left.
    """
    identifier = named(table)
    if tag in table.refs():
        raise Conflict(f"{identifier} has a tag {tag!r} already", table=identifier, tag=tag)
    schema = _registered_schema(table, batches.schema)
    arrow = types.arrow_schema(schema, ids=True)
    files = DataFiles(table, arrow).write(fitted(batches, arrow, identifier))
    with files.discarded_on(BaseException):
        noted = summary() if callable(summary) else summary
    made = 0

    def stage(fresh: Table) -> Transaction:
        nonlocal made
        if tag in fresh.refs():
            raise Conflict(f"{identifier} has a tag {tag!r} already", table=identifier, tag=tag)
        with reaching(f"writing the metadata of {identifier}"):
            transaction, made = _replacement(fresh, schema.schema_id, files, noted, tag)
        return transaction

    with files.discarded_on(BaseException):
        commit(table, stage, undone="nothing was written", sending=files.sent)
    return made


def _registered_schema(table: Table, arrow: pa.Schema) -> Schema:
    """The table's schema with exactly these columns, added to its metadata if need be.

    It is not made the current one yet, and what is registered never changes: so files may be written with its field ids, and
    whatever other builders do meanwhile, these ids stay theirs.
    """
    wanted = [(field.name, field.field_type) for field in types.iceberg_schema(arrow).fields]
    found: Schema | None = None

    def stage(fresh: Table) -> Transaction | None:
        nonlocal found
        for schema in sorted(fresh.schemas().values(), key=lambda schema: -schema.schema_id):
            if [(field.name, _shape(field.field_type)) for field in schema.fields] == [(name, _shape(kind)) for name, kind in wanted]:
                found = schema
                return None
        transaction = begin(fresh)
        last = AssertLastAssignedFieldId(last_assigned_field_id=fresh.metadata.last_column_id)  # type: ignore[call-arg]
        requirements = (AssertTableUUID(uuid=fresh.metadata.table_uuid), last, *as_loaded(fresh, schemas=True))
        found = _new_schema(fresh, arrow)
        addition = AddSchemaUpdate(schema_=found)  # type: ignore[call-arg]
        Staged(transaction, (addition,), requirements).commit()
        return transaction

    # A server may number a schema otherwise than was asked for.
    while commit(table, stage, undone="nothing was written"):
        continue
    if found is None:
        raise AssertionError("a commit of nothing has found the schema")
    return found


def _new_schema(table: Table, arrow: pa.Schema) -> Schema:
    held: dict[tuple[str, pa.DataType], NestedField] = {}
    for schema in sorted(table.schemas().values(), key=lambda schema: schema.schema_id):
        held |= {(field.name, _shape(field.field_type)): field for field in schema.fields}
    taken = iter(range(table.metadata.last_column_id + 1, 2**31))
    fields = []
    for column in arrow:
        kind = types.iceberg_type(column.type, taken, column.name)
        known = held.get((column.name, _shape(kind)))
        fields.append(known or NestedField(next(taken), column.name, kind, required=False))
    return Schema(*fields, schema_id=max(table.schemas()) + 1)


def _shape(kind: IcebergType) -> pa.DataType:
    # Two Iceberg types differ if the ids inside of them do; their Arrow types do not.
    return types.arrow_type(kind)


def _replacement(table: Table, schema_id: int, files: DataFiles, summary: Mapping[str, str], tag: str) -> tuple[Transaction, int]:
    transaction = begin(table)
    chosen = SetCurrentSchemaUpdate(schema_id=schema_id)  # type: ignore[call-arg]
    Staged(transaction, (chosen,), as_loaded(table, free_refs=[tag])).commit()
    with transaction.update_snapshot(snapshot_properties=dict(summary)).overwrite() as snapshot:
        # Without a filter pyiceberg looks for the files to drop in no manifest of an unpartitioned table.
        snapshot.delete_by_predicate(AlwaysTrue())
        for file in _current_files(table):
            snapshot.delete_data_file(file)
        for file in files.data_files(transaction.table_metadata):
            snapshot.append_data_file(file)
    ManageSnapshots(transaction).create_tag(snapshot.snapshot_id, tag).commit()
    # The transaction keeps one requirement of a type, and the branch's is the first. In a table without snapshots that one is enough.
    if table.current_snapshot() is not None:
        require(transaction, AssertRefSnapshotId(ref=tag, snapshot_id=None))  # type: ignore[call-arg]
    return transaction, snapshot.snapshot_id


def _current_files(table: Table) -> list[DataFile]:
    current = table.current_snapshot()
    manifests: list[Any] = current.manifests(table.io) if current else []
    data = [manifest for manifest in manifests if manifest.content == ManifestContent.DATA]
    return [entry.data_file for manifest in data for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)]
