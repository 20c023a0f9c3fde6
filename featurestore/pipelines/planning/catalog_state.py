"""What the catalog holds when a plan is made: each part is fetched once, and every step is made on the same."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.fingerprint import view_fingerprint
from featurestore.dsl.definitions import Definitions, object_title, owner_of
from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.lakehouse.tables import Table
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource, open_sources


@dataclass(frozen=True)
class CatalogState:
    """The registry, the sources of views by the views' names, and the feature tables of the views that mean what they did.

    In the place of a source that cannot be opened stands the error that says why. `same` are the current versions of those views
    by the views' names, and `tables` their feature tables by the tables' names, None for one that is not there.
    """

    registry: Registry
    sources: Mapping[str, PinnedSource | FeatureStoreError]
    same: Mapping[str, Applied]
    tables: Mapping[str, Table | None]

    def source(self, view: str) -> PinnedSource:
        """The source of a view. Raises: the error for which it could not be opened."""
        found = self.sources[view]
        if isinstance(found, FeatureStoreError):
            raise found
        return found


def look(
    runtime: Runtime, registry: Registry, definitions: Definitions, sound: Sequence[FeatureView], wrong: Collection[str]
) -> CatalogState:
    """What the catalog holds of the sources of all views but those that are `wrong`, and of the feature tables of the `sound` views."""
    readable = [view for view in definitions.views if object_title(*owner_of(view.source)) not in wrong]
    opened = open_sources(runtime, {view.source.name: view.source for view in readable}.values())
    current = [(view, row) for view in sound if (row := registry.latest("view", view.name)) is not None]
    same = {view.name: row for view, row in current if registry.current_fingerprint(row) == view_fingerprint(view)}
    found = {row.table: tables.find(runtime.catalog, runtime.features_table(row.table)) for row in same.values()}
    return CatalogState(registry, {view.name: opened[view.source.name] for view in readable}, same, found)
