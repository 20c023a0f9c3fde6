"""The state of the catalog for a plan, with each part loaded once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.fingerprint import view_fingerprint
from featurestore.dsl.definitions import Definitions, object_title, owner_of
from featurestore.dsl.view import FeatureView
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import PinnedSource, open_sources


@dataclass(frozen=True)
class CatalogState:
    """The registry, the sources of views, and the feature tables of views that keep their version.

    `sources` maps the names of views to their sources, or to the error with which a source could not be opened. `same` has the current
    versions of the views whose meaning does not change, and `tables` their feature tables, None for a missing one. `closed` are views that
    stay as they are without a look at their sources.
    """

    registry: Registry
    sources: Mapping[str, PinnedSource | FeatureStoreError]
    same: Mapping[str, Applied]
    tables: Mapping[str, Table | None]
    closed: Collection[str] = ()

    def source(self, view: str) -> PinnedSource:
        """The source of a view. Raises: the error with which it could not be opened."""
        source = self.sources[view]
        if isinstance(source, FeatureStoreError):
            raise source
        return source


def load_catalog_state(
    runtime: Runtime,
    registry: Registry,
    definitions: Definitions,
    sound: Sequence[FeatureView],
    wrong: Collection[str],
    closed: Collection[str],
) -> CatalogState:
    """Load the registry's sources, except the `wrong` ones (by their titles in problems) and those of `closed` views only, and the tables
    of the `sound` views.
    """
    open_views = [view for view in definitions.views if view.name not in closed]
    readable = [view for view in open_views if object_title(*owner_of(view.source)) not in wrong]
    sources = open_sources(runtime, {view.source.name: view.source for view in readable}.values())
    current = [(view, row) for view in sound if (row := registry.latest("view", view.name)) is not None]
    same = {view.name: row for view, row in current if registry.current_fingerprint(row) == view_fingerprint(view)}
    loaded = {row.table: tables.find(runtime.catalog, runtime.features_table(row.table)) for row in same.values()}
    return CatalogState(registry, {view.name: sources[view.source.name] for view in readable}, same, loaded, closed)
