"""Load the raw tables into the catalog, as users load their source tables: through `store.catalog`."""

from dataclasses import dataclass

from featurestore.demo import data
from featurestore.errors import NotReady
from featurestore.store import FeatureStore


@dataclass(frozen=True)
class RawTable:
    """A source table: its Iceberg identifier, number of rows and snapshot, and whether this run loaded it."""

    name: str
    rows: int
    snapshot_id: int
    loaded: bool


def load_tables(store: FeatureStore) -> list[RawTable]:
    """Load the raw tables that are not in the catalog."""
    store.catalog.create_namespace_if_not_exists("raw")
    return [_load(store, name) for name in data.TABLES]


def _load(store: FeatureStore, name: str) -> RawTable:
    """Load a table unless it has a snapshot: an interrupted run may have left it empty."""
    snapshot = store.catalog.load_table(name).current_snapshot() if store.catalog.table_exists(name) else None
    loaded = snapshot is None
    if snapshot is None:
        rows = data.TABLES[name]()
        table = store.catalog.create_table_if_not_exists(name, schema=rows.schema)
        table.append(rows)
        snapshot = table.current_snapshot()
    if snapshot is None or snapshot.summary is None:
        raise NotReady(f"{name} has no snapshot after rows were appended; check the catalog")
    return RawTable(name, int(str(snapshot.summary["total-records"])), snapshot.snapshot_id, loaded)
