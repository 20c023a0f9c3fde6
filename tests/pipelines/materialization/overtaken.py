"""A run whose lease is gone, as if it had been stopped for so long that others waited no more."""

from featurestore import FeatureStore
from featurestore.lakehouse import tables
from featurestore.lakehouse.property_commits import PropertyChange, change_properties
from featurestore.records.leases import leases_table


def lose_lease(store: FeatureStore, table: str) -> None:
    """Remove all claims of a table, whoever has them."""
    leases = tables.load(store.catalog, leases_table(store.settings))
    change_properties(
        leases, lambda properties: PropertyChange(drop=[key for key in properties if table in key]), undone="nothing was changed"
    )
