"""The raw tables in the catalog, loaded once, as any user loads source tables: through `store.catalog`."""

from dataclasses import dataclass

from featurestore.demo import data
from featurestore.errors import NotReady
from featurestore.store import FeatureStore


@dataclass(frozen=True)
class RawTable:
    """One source table: its Iceberg identifier, its rows, its snapshot, and whether this run loaded it."""

    name: str
    rows: int
    snapshot_id: int
    loaded: bool


def load_tables(store: FeatureStore) -> list[RawTable]:
    """Load the raw tables that the catalog does not have yet."""
    store.catalog.create_namespace_if_not_exists("raw")
    return [_load(store, name) for name in data.TABLES]


def _load(store: FeatureStore, name: str) -> RawTable:
    """One table. An interrupted run may have left it empty, so what counts is its snapshot."""
    found = store.catalog.load_table(name).current_snapshot() if store.catalog.table_exists(name) else None
    loaded = found is None
    if found is None:
        rows = data.TABLES[name]()
        table = store.catalog.create_table_if_not_exists(name, schema=rows.schema)
        table.append(rows)
        found = table.current_snapshot()
    if found is None or found.summary is None:
        raise NotReady(f"{name} has no snapshot after rows were appended to it; look at the catalog")
    return RawTable(name, int(str(found.summary["total-records"])), found.snapshot_id, loaded)
