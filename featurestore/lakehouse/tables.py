"""Load, create and inspect tables by name; a handle shows the state of a table at the time it was loaded."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import count

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId
from pyiceberg.transforms import MonthTransform
from sqlalchemy import select
from sqlalchemy.orm import Session

from featurestore.errors import CommitConflict, Conflict, NotFound, NotReady, RequestError
from featurestore.lakehouse import leftovers, type_mapping
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.commits import ATTEMPTS, begin, commit, stage_properties
from featurestore.lakehouse.requirements import StagedUpdates
from featurestore.lakehouse.table import FORMAT, FORMAT_PROPERTY, Table

CREATION = "featurestore.creation"
"""The table property with the unique id of the table's creation."""

MONTH_PARTITION = "__fs_month"
"""The name of the month partition; it must not be the name of a column."""

METADATA_PROPERTIES = {
    # A commit leaves a metadata file and a manifest: keep both few, or planning and commits slow down with a table's age.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
}
"""Properties of every table that we create."""


def load(catalog: Catalog, identifier: str) -> Table:
    """Load a table. Raises: NotFound with the nearest names of its namespace; NotReady if its files cannot be reached."""
    namespace = identifier.rpartition(".")[0]
    if identifier and any(not part.strip() or part != part.strip() or "/" in part for part in identifier.split(".")):
        raise RequestError(f"{identifier!r} is not the name of a table; write namespace.name", field="table")
    if not namespace:
        known = [f"{space}.{name}" for space in map(".".join, catalog.list_namespaces()) for name in list_tables(catalog, space)]
        raise NotFound("table", identifier, known)
    try:
        return Table(catalog.load_table(identifier))
    except NoSuchTableError as error:
        known = [f"{namespace}.{name}" for name in list_tables(catalog, namespace)]
        raise NotFound("table", identifier, known) from error
    except UNREACHABLE as error:
        raise to_store_error(error, f"loading {identifier}") from error


def exists(catalog: Catalog, identifier: str) -> bool:
    """Whether a table of this name exists. Raises: NotReady if the catalog cannot be reached."""
    try:
        return bool("." in identifier and catalog.table_exists(identifier))
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking for {identifier}") from error


def find(catalog: Catalog, identifier: str) -> Table | None:
    """Load a table; None if it does not exist. Raises: NotReady if the catalog cannot be reached."""
    if "." not in identifier or any(not part.strip() or "/" in part for part in identifier.split(".")):
        return None
    try:
        return Table(catalog.load_table(identifier))
    except NoSuchTableError:
        return None
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking for {identifier}") from error


def pointer(catalog: Catalog, identifier: str) -> str | None:
    """The address of a table's metadata file, which each commit changes; None if there is no such table. Of an SQL catalog without reading
    the file. Raises: NotReady if the catalog cannot be reached.
    """
    if not isinstance(catalog, SqlCatalog):
        table = find(catalog, identifier)
        return None if table is None else table.metadata_location
    namespace, _, name = identifier.rpartition(".")
    conditions = (IcebergTables.catalog_name == catalog.name, IcebergTables.table_namespace == namespace, IcebergTables.table_name == name)
    try:
        with Session(catalog.engine) as session:
            location: str | None = session.scalar(select(IcebergTables.metadata_location).where(*conditions))
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking for {identifier}") from error
    return location


def list_tables(catalog: Catalog, namespace: str) -> list[str]:
    """The names of a namespace's tables without the namespace, sorted; empty if the namespace does not exist."""
    try:
        return sorted(identifier[-1] for identifier in catalog.list_tables(namespace))
    except NoSuchNamespaceError:
        return []
    except UNREACHABLE as error:
        raise to_store_error(error, f"listing {namespace}") from error


def create(
    catalog: Catalog, identifier: str, schema: pa.Schema, *, month_of: str | None = None, properties: Mapping[str, str] | None = None
) -> Table:
    """Create an empty table with these columns, all optional, partitioned by the month of `month_of` if given; also the namespace.

    Raises: Conflict if the table exists; TypeMismatch or NotFound naming a column.
    """
    columns = type_mapping.iceberg_schema(schema)
    spec = PartitionSpec()
    if month_of is not None:
        source = column_id(columns, month_of, identifier)
        spec = PartitionSpec(PartitionField(source_id=source, field_id=1000, transform=MonthTransform(), name=MONTH_PARTITION))
    create_namespace(catalog, identifier.rpartition(".")[0])
    # Recognizes the table if the response to its creation is lost.
    creation = uuid.uuid4().hex
    all_properties = {"format-version": "2", **METADATA_PROPERTIES, **(properties or {}), CREATION: creation, FORMAT_PROPERTY: str(FORMAT)}
    try:
        return Table(catalog.create_table(identifier, columns, partition_spec=spec, properties=all_properties))
    except TableAlreadyExistsError as error:
        if (table := _find_created(catalog, identifier, creation)) is not None:
            return table
        leftovers.delete_leftovers(catalog, identifier, creation, error)
        raise Conflict(f"the table {identifier} exists already", table=identifier) from error
    except (*UNREACHABLE, NotReady) as error:
        if (table := _find_created(catalog, identifier, creation)) is not None:
            return table
        leftovers.delete_leftovers(catalog, identifier, creation, error)
        raise to_store_error(error, f"creating {identifier}") from error


def create_if_absent(catalog: Catalog, identifier: str, schema: pa.Schema, *, month_of: str | None = None) -> Table:
    """Load a table, or create it as `create` does if it does not exist."""
    return load_or_create(catalog, identifier, schema, month_of=month_of)[0]


def load_or_create(
    catalog: Catalog, identifier: str, schema: pa.Schema, *, month_of: str | None = None, properties: Mapping[str, str] | None = None
) -> tuple[Table, bool]:
    """As `create_if_absent`, with properties for a new table; also returns whether this call created it.

    Raises: CommitConflict if other processes create and drop the table meanwhile; else as `create`.
    """
    if (table := find(catalog, identifier)) is not None:
        return table, False
    try:
        return create(catalog, identifier, schema, month_of=month_of, properties=properties), True
    except Conflict as conflict:
        # Another process created it at the same time.
        if (table := find(catalog, identifier)) is not None:
            return table, False
        raise CommitConflict(f"another process created {identifier} and dropped it again; try again", table=identifier) from conflict


def _find_created(catalog: Catalog, identifier: str, creation: str) -> Table | None:
    """Load the table if this creation made it; None if it does not exist or has another creation id. Raises: NotReady."""
    try:
        table = Table(catalog.load_table(identifier))
    except NoSuchTableError:
        return None
    except UNREACHABLE as error:
        raise to_store_error(error, f"looking whether {identifier} was created") from error
    return table if table.properties.get(CREATION) == creation else None


def create_namespace(catalog: Catalog, namespace: str) -> None:
    """Create the namespace unless it exists."""
    try:
        if not catalog.namespace_exists(namespace):
            catalog.create_namespace(namespace)
    except NamespaceAlreadyExistsError:
        return
    except (*UNREACHABLE, NotReady) as error:
        # Two processes may create it at the same time, and the database refuses the second; or the response was lost.
        with translating_errors(f"looking for the namespace {namespace}"):
            exists = catalog.namespace_exists(namespace)
        if not exists:
            failure = to_store_error(error, f"creating the namespace {namespace}")
            raise type(failure)(f"{failure.message}; or create it in the catalog yourself", **failure.details) from error


def set_properties(table: Table, properties: Mapping[str, str], drop: Collection[str] = ()) -> None:
    """Set table properties and remove those in `drop`, in one commit, unless nothing changes; the handle then shows the new state.

    Raises: CommitConflict if another writer changed one of them or added a snapshot since the handle was loaded.
    """
    commit(table, lambda fresh: properties_transaction(fresh, properties, drop), attempts=1)


def properties_transaction(table: Table, properties: Mapping[str, str], drop: Collection[str] = ()) -> Transaction | None:
    """The transaction of `set_properties`, not yet committed; None if nothing changes."""
    changed = {key: value for key, value in properties.items() if table.properties.get(key) != value}
    if not changed and not any(key in table.properties for key in drop):
        return None
    transaction = begin(table)
    stage_properties(transaction, table, changed, drop)
    main = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=table.snapshot_id)  # type: ignore[call-arg]
    StagedUpdates(transaction, (), (main,)).commit()
    return transaction


def add_column(table: Table, name: str, arrow_type: pa.DataType) -> None:
    """Add a column, NULL in existing rows, unless the table has it; the handle then shows the new state.

    Raises: CommitConflict if another writer changed the columns or added a snapshot since the handle was loaded.
    """

    def stage(fresh: Table) -> Transaction | None:
        if name in fresh.iceberg.schema().column_names:
            return None
        transaction = begin(fresh)
        with transaction.update_schema() as update:
            update.add_column(name, type_mapping.iceberg_type(arrow_type, count(fresh.iceberg.metadata.last_column_id + 1), name))
        main = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=fresh.snapshot_id)  # type: ignore[call-arg]
        StagedUpdates(transaction, (), (main,)).commit()
        return transaction

    commit(table, stage, attempts=1)


def add_missing_columns(table: Table, columns: Sequence[pa.Field]) -> None:
    """Add the columns that the table lacks, NULL in existing rows, whatever others commit meanwhile; the handle shows the new state."""

    def stage(fresh: Table) -> Transaction | None:
        missing = [column for column in columns if column.name not in fresh.iceberg.schema().column_names]
        if not missing:
            return None
        transaction, ids = begin(fresh), count(fresh.iceberg.metadata.last_column_id + 1)
        with transaction.update_schema() as update:
            for column in missing:
                update.add_column(column.name, type_mapping.iceberg_type(column.type, ids, column.name))
        return transaction

    if any(column.name not in table.iceberg.schema().column_names for column in columns):
        commit(table, stage, attempts=ATTEMPTS)


@lru_cache(maxsize=1024)
def stored_type(arrow_type: pa.DataType) -> pa.DataType:
    """The Arrow type in which a table returns values of an Arrow type. Raises: TypeMismatch for a type that Iceberg does not have."""
    return type_mapping.arrow_of_iceberg(type_mapping.iceberg_type(arrow_type, count(1), "values"))


def arrow_schema(table: Table, snapshot_id: int | None = None) -> pa.Schema:
    """The columns of a snapshot (None: the current ones); timestamps are in microseconds, zoned ones in UTC; no large types.

    Raises: NotFound if there is no such snapshot.
    """
    return type_mapping.arrow_schema(schema_of(table, snapshot_id))


def schema_of(table: Table, snapshot_id: int | None) -> Schema:
    """The schema that a snapshot was written with; None: the current one. Raises: NotFound if there is no such snapshot."""
    if snapshot_id is None:
        return table.iceberg.schema()
    schema_id = snapshot(table, snapshot_id).schema_id
    # Snapshots of old writers have no schema id: the current schema is the best known.
    return table.iceberg.schemas().get(schema_id, table.iceberg.schema()) if schema_id is not None else table.iceberg.schema()


def schema_id_of(table: Table, snapshot_id: int | None) -> int:
    """The id of the schema that a snapshot was written with; None: of the current one. Raises: NotFound if there is no such snapshot."""
    return schema_of(table, snapshot_id).schema_id


def has_column(table: Table, snapshot_id: int | None, name: str) -> bool:
    """Whether a snapshot (None: the current schema) has a column of this name. Raises: NotFound if there is no such snapshot."""
    return name in schema_of(table, snapshot_id).column_names


def schema_by_id(table: Table, schema_id: int) -> Schema:
    """A schema of the table, current or older. Raises: NotFound."""
    schema = table.iceberg.schemas().get(schema_id)
    if schema is None:
        raise NotFound("schema", str(schema_id), map(str, sorted(table.iceberg.schemas())), where=table.name)
    return schema


def column_names(table: Table, schema_id: int) -> list[str]:
    """The top-level column names of one of the table's schemas, in its order. Raises: NotFound."""
    return [field.name for field in schema_by_id(table, schema_id).fields]


def names_by_id(table: Table, snapshot_id: int | None) -> dict[int, str]:
    """The top-level column names of a snapshot (None: the current schema), by their field ids, in order. Raises: NotFound."""
    return {field.field_id: field.name for field in schema_of(table, snapshot_id).fields}


def all_names_by_id(table: Table) -> dict[int, set[str]]:
    """All names that every top-level column of a table has ever had, by its field id."""
    names: dict[int, set[str]] = {}
    for schema in table.iceberg.schemas().values():
        for field in schema.fields:
            names.setdefault(field.field_id, set()).add(field.name)
    return names


def last_names_by_id(table: Table) -> dict[int, str]:
    """The name of every top-level column that a table has or had, by its field id: the current one, or the last before it was dropped."""
    schemas = table.iceberg.schemas()
    names = {field.field_id: field.name for number in sorted(schemas) for field in schemas[number].fields}
    return {**names, **names_by_id(table, None)}


def column_types(table: Table, snapshot_id: int | None) -> dict[str, str]:
    """Iceberg's names of the types of the top-level columns of a snapshot (None: the current schema), in order. Raises: NotFound."""
    return {field.name: str(field.field_type) for field in schema_of(table, snapshot_id).fields}


def snapshot(table: Table, snapshot_id: int) -> Snapshot:
    """A snapshot's metadata. Raises: NotFound if it never existed or has expired."""
    metadata = table.iceberg.snapshot_by_id(snapshot_id)
    if metadata is None:
        raise NotFound("snapshot", str(snapshot_id), map(str, table.snapshot_ids), where=table.name)
    return metadata


def committed_us(table: Table, snapshot_id: int) -> int:
    """When a snapshot was committed, in microseconds since the epoch. Raises: NotFound."""
    return snapshot(table, snapshot_id).timestamp_ms * 1000


def summary(table: Table, snapshot_id: int) -> dict[str, str]:
    """The summary of a snapshot: the writer's entries, Iceberg's counts, and the key `operation`. Raises: NotFound."""
    entries = snapshot(table, snapshot_id).summary
    return {"operation": entries.operation.value, **entries.additional_properties} if entries else {}


def column_id(schema: Schema, name: str, where: str) -> int:
    """The field id of a column. Raises: NotFound with the nearest names."""
    for field in schema.fields:
        if field.name == name:
            return field.field_id
    raise NotFound("column", name, [field.name for field in schema.fields], where=where)
