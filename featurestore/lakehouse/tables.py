"""Tables by name: load, create, look at; a handle is the state of one table at the moment it was loaded."""

import uuid
from collections.abc import Collection, Mapping
from itertools import count

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table as Table
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId
from pyiceberg.transforms import MonthTransform

from featurestore.errors import Conflict, NotFound, NotReady, RequestError
from featurestore.lakehouse import leftovers, types
from featurestore.lakehouse.commits import begin, commit, stage_properties
from featurestore.lakehouse.reaching import UNREACHABLE, reaching, told
from featurestore.lakehouse.requirements import Staged

CREATION = "featurestore.creation"
"""The property that tells one creation of a table from another."""

MONTH_PARTITION = "__fs_month"
"""The name of the month partition: it must meet no column's name."""

FEW_FILES = {
    # A commit leaves a metadata file and a manifest: keep both few, or planning and commits slow down with a table's age.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
}
"""What every table of ours says about its metadata."""


def load(catalog: Catalog, identifier: str) -> Table:
    """The table as it is now. Raises: NotFound with the nearest names of its namespace; NotReady where its files cannot be reached."""
    namespace = identifier.rpartition(".")[0]
    if identifier and any(not part.strip() or part != part.strip() or "/" in part for part in identifier.split(".")):
        raise RequestError(f"{identifier!r} is not the name of a table; write namespace.name", field="table")
    if not namespace:
        known = [f"{space}.{name}" for space in map(".".join, catalog.list_namespaces()) for name in list_tables(catalog, space)]
        raise NotFound("table", identifier, known)
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError as error:
        known = [f"{namespace}.{name}" for name in list_tables(catalog, namespace)]
        raise NotFound("table", identifier, known) from error
    except UNREACHABLE as error:
        raise told(error, f"loading {identifier}") from error


def exists(catalog: Catalog, identifier: str) -> bool:
    """Whether there is a table of this name. Raises: NotReady where the catalog cannot be reached."""
    try:
        return bool("." in identifier and catalog.table_exists(identifier))
    except UNREACHABLE as error:
        raise told(error, f"looking for {identifier}") from error


def find(catalog: Catalog, identifier: str) -> Table | None:
    """The table as it is now; None where there is none of this name. Raises: NotReady where the catalog cannot be reached."""
    if "." not in identifier:
        return None
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return None
    except UNREACHABLE as error:
        raise told(error, f"looking for {identifier}") from error


def list_tables(catalog: Catalog, namespace: str) -> list[str]:
    """The names of a namespace's tables without the namespace, sorted; none where there is no such namespace."""
    try:
        return sorted(identifier[-1] for identifier in catalog.list_tables(namespace))
    except NoSuchNamespaceError:
        return []
    except UNREACHABLE as error:
        raise told(error, f"listing {namespace}") from error


def create(
    catalog: Catalog, identifier: str, schema: pa.Schema, *, month_of: str | None = None, properties: Mapping[str, str] | None = None
) -> Table:
    """A new, empty table with these columns, all optional; partitioned by the month of `month_of` where given. Makes the namespace.

    Raises: Conflict if the table is there; TypeMismatch or NotFound naming a column.
    """
    columns = types.iceberg_schema(schema)
    spec = PartitionSpec()
    if month_of is not None:
        source = column_id(columns, month_of, identifier)
        spec = PartitionSpec(PartitionField(source_id=source, field_id=1000, transform=MonthTransform(), name=MONTH_PARTITION))
    create_namespace(catalog, identifier.rpartition(".")[0])
    # By it a table is known again whose creation was not answered.
    creation = uuid.uuid4().hex
    given = {"format-version": "2", **FEW_FILES, **(properties or {}), CREATION: creation}
    try:
        return catalog.create_table(identifier, columns, partition_spec=spec, properties=given)
    except TableAlreadyExistsError as error:
        if (made := _made(catalog, identifier, creation)) is not None:
            return made
        leftovers.clear(catalog, identifier, creation, error)
        raise Conflict(f"the table {identifier} exists already", table=identifier) from error
    except (*UNREACHABLE, NotReady) as error:
        if (made := _made(catalog, identifier, creation)) is not None:
            return made
        leftovers.clear(catalog, identifier, creation, error)
        raise told(error, f"creating {identifier}") from error


def load_or_create(catalog: Catalog, identifier: str, schema: pa.Schema, *, month_of: str | None = None) -> Table:
    """The table of this name, made as by `create` if nobody has made it."""
    if (found := find(catalog, identifier)) is not None:
        return found
    try:
        return create(catalog, identifier, schema, month_of=month_of)
    except Conflict:
        # Another process made it at the same moment.
        return load(catalog, identifier)


def _made(catalog: Catalog, identifier: str, creation: str) -> Table | None:
    """The table if it is the one that this creation made; None where it is not there, or another's. Raises: NotReady."""
    try:
        found = catalog.load_table(identifier)
    except NoSuchTableError:
        return None
    except UNREACHABLE as error:
        raise told(error, f"looking whether {identifier} was created") from error
    return found if found.properties.get(CREATION) == creation else None


def create_namespace(catalog: Catalog, namespace: str) -> None:
    """Make the namespace unless it is there."""
    try:
        if not catalog.namespace_exists(namespace):
            catalog.create_namespace(namespace)
    except NamespaceAlreadyExistsError:
        return
    except (*UNREACHABLE, NotReady) as error:
        # Two processes may create it at once, and the database refuses the second; or the answer was lost.
        with reaching(f"looking for the namespace {namespace}"):
            there = catalog.namespace_exists(namespace)
        if not there:
            raise told(error, f"creating the namespace {namespace}") from error


def set_properties(table: Table, properties: Mapping[str, str], drop: Collection[str] = ()) -> None:
    """Set table properties and remove those of `drop`, in one commit, or nothing if all is so already; the handle then shows the new state.

    Raises: CommitConflict if since the handle was loaded another writer changed one of them or added a snapshot.
    """
    commit(table, lambda fresh: properties_changed(fresh, properties, drop), attempts=1)


def properties_changed(table: Table, properties: Mapping[str, str], drop: Collection[str] = ()) -> Transaction | None:
    """The transaction of `set_properties`, not committed; None if all is so already."""
    changed = {key: value for key, value in properties.items() if table.properties.get(key) != value}
    if not changed and not any(key in table.properties for key in drop):
        return None
    transaction = begin(table)
    stage_properties(transaction, table, changed, drop)
    main = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=current_snapshot_id(table))  # type: ignore[call-arg]
    Staged(transaction, (), (main,)).commit()
    return transaction


def add_column(table: Table, name: str, kind: pa.DataType) -> None:
    """Give a table one more column, NULL in the rows it has, unless it has it; the handle then shows the new state.

    Raises: CommitConflict if since the handle was loaded another writer changed the columns or added a snapshot.
    """

    def stage(fresh: Table) -> Transaction | None:
        if name in fresh.schema().column_names:
            return None
        transaction = begin(fresh)
        with transaction.update_schema() as update:
            update.add_column(name, types.iceberg_type(kind, count(fresh.metadata.last_column_id + 1), name))
        main = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=current_snapshot_id(fresh))  # type: ignore[call-arg]
        Staged(transaction, (), (main,)).commit()
        return transaction

    commit(table, stage, attempts=1)


def arrow_schema(table: Table, snapshot_id: int | None = None) -> pa.Schema:
    """The columns of a snapshot, or the current ones; every timestamp in microseconds, with a zone UTC; no large types.

    Raises: NotFound if there is no such snapshot.
    """
    return types.arrow_schema(schema_of(table, snapshot_id))


def schema_of(table: Table, snapshot_id: int | None) -> Schema:
    """The schema that a snapshot was written with; None: the current one. Raises: NotFound if there is no such snapshot."""
    if snapshot_id is None:
        return table.schema()
    schema_id = snapshot(table, snapshot_id).schema_id
    # Snapshots of the oldest writers name no schema: the current one is all there is.
    return table.schemas().get(schema_id, table.schema()) if schema_id is not None else table.schema()


def schema_by_id(table: Table, schema_id: int) -> Schema:
    """One of the schemas that the table has had. Raises: NotFound."""
    found = table.schemas().get(schema_id)
    if found is None:
        raise NotFound("schema", str(schema_id), map(str, sorted(table.schemas())), where=".".join(table.name()))
    return found


def column_names(table: Table, schema_id: int) -> list[str]:
    """The columns of one of the table's schemas, in its order, without nested fields. Raises: NotFound."""
    return [field.name for field in schema_by_id(table, schema_id).fields]


def snapshot(table: Table, snapshot_id: int) -> Snapshot:
    """A snapshot's metadata. Raises: NotFound if it was never there or has expired."""
    found = table.snapshot_by_id(snapshot_id)
    if found is None:
        raise NotFound("snapshot", str(snapshot_id), map(str, snapshot_ids(table)), where=".".join(table.name()))
    return found


def snapshot_ids(table: Table) -> list[int]:
    """Every snapshot that the table still has, oldest first."""
    return [found.snapshot_id for found in sorted(table.snapshots(), key=lambda s: (s.sequence_number or 0, s.timestamp_ms))]


def current_snapshot_id(table: Table) -> int | None:
    """The snapshot that a reader sees now; None: nothing was ever written."""
    found = table.current_snapshot()
    return found.snapshot_id if found else None


def summary(table: Table, snapshot_id: int) -> dict[str, str]:
    """What the writer of a snapshot noted in it, with Iceberg's own counts and the key `operation`. Raises: NotFound."""
    found = snapshot(table, snapshot_id).summary
    return {"operation": found.operation.value, **found.additional_properties} if found else {}


def column_id(schema: Schema, name: str, where: str) -> int:
    """The field id of a column. Raises: NotFound with the nearest names."""
    for field in schema.fields:
        if field.name == name:
            return field.field_id
    raise NotFound("column", name, [field.name for field in schema.fields], where=where)
