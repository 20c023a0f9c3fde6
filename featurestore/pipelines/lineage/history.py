"""What happened to a table: its creation, and every snapshot that it still has."""

from dataclasses import dataclass, field
from datetime import datetime

from featurestore.errors import NotFound
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records import authors, definitions
from featurestore.records.authors import AUTHOR, RUN_ID
from featurestore.records.expiries import recorded_expiries
from featurestore.records.operations import operation_of
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class TableEvent(Result):
    """One change of a table.

    `snapshot_id` is None for changes without a snapshot: the creation of the table, and the expiry of snapshots. `by` is the user (None if
    that was not recorded), `rows` the number of added rows (None for whoever may not read them all), and `run_id` the run that created the
    snapshot (None for other programs).
    """

    table: str
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)
    at: datetime
    by: str | None
    operation: str
    rows: int | None
    run_id: str | None


def table_history(runtime: Runtime, name: str) -> list[TableEvent]:
    """The changes of a table, the newest first. Snapshots that maintenance has expired are not there any more.

    `name` is a written table or a view (its current version), a feature table such as `customer_orders_v1`, or any table of the catalog
    with its namespace. Raises: NotFound with the nearest names.
    """
    identifier = _identifier(runtime, name)
    table = tables.load(runtime.catalog, identifier)
    events = [_event(identifier, table, snapshot_id) for snapshot_id in reversed(table.snapshot_ids)]
    for expiry in recorded_expiries(table.properties):
        at, by = times.parse(str(expiry["at"]), "at"), str(expiry["by"]) or None
        events.append(TableEvent(identifier, None, times.moment(at), by, f"expire {expiry['snapshots']} snapshots", 0, None))
    events.sort(key=lambda event: event.at, reverse=True)
    created, creator = authors.creation(table.properties)
    if created is not None:
        events.append(TableEvent(identifier, None, times.moment(times.parse(created, "at")), creator, "create", 0, None))
    return events


def _identifier(runtime: Runtime, name: str) -> str:
    if "." in name:
        return name
    known = definitions.read_registry(runtime)
    if (current := known.latest("view", name)) is not None:
        return runtime.features_table(current.table)
    version_tables = {row.table for rows in known.rows.values() for row in rows if row.kind == "view"}
    if name in version_tables:
        return runtime.features_table(name)
    raise NotFound("table", name, [*known.names("view"), *version_tables])


def _event(identifier: str, table: Table, snapshot_id: int) -> TableEvent:
    summary = tables.summary(table, snapshot_id)
    return TableEvent(
        identifier,
        snapshot_id,
        times.moment(tables.committed_us(table, snapshot_id)),
        summary.get(AUTHOR) or None,
        operation_of(summary),
        int(summary.get("added-records") or 0),
        summary.get(RUN_ID),
    )
