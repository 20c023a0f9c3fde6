"""What every pipeline works with, wired once: settings, catalog, engine, online store."""

from dataclasses import dataclass
from functools import cached_property

from featurestore.engine.duck import DuckEngine
from featurestore.lakehouse.catalog import Catalog, open_catalog
from featurestore.online.opening import open_online
from featurestore.online.store import OnlineStore
from featurestore.settings import Settings


@dataclass(frozen=True)
class Parts:
    """The floors below, opened when first used."""

    settings: Settings

    @cached_property
    def catalog(self) -> Catalog:
        """The Iceberg catalog. Raises: NotReady when it cannot be reached."""
        return open_catalog(self.settings)

    @cached_property
    def engine(self) -> DuckEngine:
        """The SQL engine."""
        return DuckEngine(self.settings)

    @cached_property
    def online(self) -> OnlineStore:
        """The online store. Raises: NotReady when it cannot be reached."""
        return open_online(self.settings.online_url())

    def features_table(self, name: str) -> str:
        """The catalog identifier of a feature table such as `customer_orders_v1`."""
        return f"{self.settings.features_namespace}.{name}"

    def close(self) -> None:
        """Close what was opened."""
        if "online" in self.__dict__:
            self.online.close()
        if "engine" in self.__dict__:
            self.engine.close()
