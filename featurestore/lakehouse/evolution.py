"""Add columns to a table, so that they are columns of its current snapshot too."""

from collections.abc import Mapping
from itertools import count

import pyarrow as pa
from pyiceberg.exceptions import ResolveError
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import AssertRefSnapshotId

from featurestore.errors import TypeMismatch
from featurestore.lakehouse import type_mapping
from featurestore.lakehouse.catalog_errors import translating_errors
from featurestore.lakehouse.commits import begin, commit, stage_properties
from featurestore.lakehouse.requirements import StagedUpdates
from featurestore.lakehouse.table import Table


def extend_columns(table: Table, columns: pa.Schema) -> None:
    """Add the columns that a table lacks, NULL in existing rows, and widen those that have narrower types here than in `columns`; the
    handle then shows the new state.

    Raises: TypeMismatch naming a column whose type cannot be widened in place; CommitConflict if another writer changed the columns.
    """

    def stage(fresh: Table) -> Transaction | None:
        stored = type_mapping.arrow_schema(fresh.iceberg.schema())
        new = [field for field in columns if field.name not in stored.names]
        wider = [field for field in columns if field.name in stored.names and stored.field(field.name).type != field.type]
        if not new and not wider:
            return None
        transaction, ids = begin(fresh), count(fresh.iceberg.metadata.last_column_id + len(new) + 1)
        with transaction.update_schema() as update:
            for field in new:
                update.add_column(field.name, type_mapping.iceberg_type(field.type, ids, field.name))
            for field in wider:
                try:
                    update.update_column(field.name, field_type=type_mapping.iceberg_type(field.type, ids, field.name))
                except (ValueError, ResolveError) as error:
                    raise _not_widened(fresh, field.name, stored.field(field.name).type, field.type) from error
        return transaction

    commit(table, stage, attempts=1)


def _not_widened(table: Table, column: str, stored: pa.DataType, found: pa.DataType) -> TypeMismatch:
    return TypeMismatch(
        f"column '{column}' is {stored} in {table.name}, and new rows need {found}, to which it cannot be widened in place",
        column=column,
        expected=str(stored),
        found=str(found),
    )


def add_columns(table: Table, columns: pa.Schema, *, summary: Mapping[str, str], properties: Mapping[str, str]) -> None:
    """Add these columns, NULL in existing rows, and set properties, unless the table has the columns; the handle then shows the new state.

    A table with rows gets an empty snapshot in the same commit, since readers take the columns of a snapshot from the schema that it was
    written with. Raises: CommitConflict if another writer changed the columns or added a snapshot since the handle was loaded.
    """

    def stage(fresh: Table) -> Transaction | None:
        new = [field for field in columns if field.name not in fresh.iceberg.schema().column_names]
        if not new:
            return None
        transaction = begin(fresh)
        with transaction.update_schema() as update:
            ids = count(fresh.iceberg.metadata.last_column_id + len(new) + 1)
            for field in new:
                update.add_column(field.name, type_mapping.iceberg_type(field.type, ids, field.name))
        stage_properties(transaction, fresh, properties)
        if fresh.snapshot_id is None:
            main = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=None)  # type: ignore[call-arg]
            StagedUpdates(transaction, (), (main,)).commit()
            return transaction
        with (
            translating_errors(f"writing the metadata of {fresh.name}"),
            transaction.update_snapshot(snapshot_properties=dict(summary)).merge_append(),
        ):
            pass
        return transaction

    commit(table, stage, attempts=1)
