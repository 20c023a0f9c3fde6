"""What there is in the store, as one principal may see it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featurestore.access.privileges import Kind, Privilege
from featurestore.records.names import service_name, view_name
from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded
from featurestore.values.table_names import is_in, view_of_table

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.history import TableEvent
    from featurestore.pipelines.lineage.impact_result import Impact
    from featurestore.pipelines.lineage.lineage_result import ColumnLineage
    from featurestore.pipelines.training_sets.listing import TrainingSetInfo
    from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
    from featurestore.values.arguments import Direction


class PrincipalListings(PrincipalVerbs):
    """Lists have only what the principal may see."""

    @recorded
    def entities(self) -> list[EntityInfo]:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.entities()

    @recorded
    def sources(self) -> list[SourceInfo]:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.sources()

    @recorded
    def views(self) -> list[ViewInfo]:
        """Those with USE."""
        rights = self._rights
        return [view for view in self._store.views() if rights.sees(Kind.VIEW, view.name)]

    @recorded
    def view(self, name: str) -> ViewDetail:
        """USE on the view."""
        self._rights.require(Privilege.USE, Kind.VIEW, view_name(name))
        return self._call(self._store.view, name)

    @recorded
    def services(self) -> list[ServiceInfo]:
        """Those with USE."""
        rights = self._rights
        return [service for service in self._store.services() if rights.sees(Kind.SERVICE, service.name)]

    @recorded
    def service(self, name: str) -> ServiceDetail:
        """USE on the service. Of views without USE, its definition has only the names."""
        rights = self._rights
        rights.require(Privilege.USE, Kind.SERVICE, service_name(name))
        found = self._call(self._store.service, name)
        selections = [
            selection if rights.sees(Kind.VIEW, selection["view"]["name"]) else {**selection, "view": {"name": selection["view"]["name"]}}
            for selection in found.definition["features"]
        ]
        return replace(found, definition={**found.definition, "features": selections})

    @recorded
    def training_sets(self) -> list[TrainingSetInfo]:
        """Those with USE on their table."""
        rights = self._rights
        return [made for made in self._store.training_sets() if rights.sees(Kind.TABLE, f"{self._training_sets}.{made.name}")]

    @recorded
    def models(self) -> list[ModelInfo]:
        """Those with USE."""
        rights = self._rights
        return [model for model in self._store.models() if rights.sees(Kind.MODEL, model.model)]

    @recorded
    def impact(self, table: str, column: str | None = None) -> Impact:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.impact(table, column)

    @recorded
    def lineage(self, name: str, direction: Direction = "both") -> ColumnLineage:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.lineage(name, direction)

    @recorded
    def history(self, table: str) -> list[TableEvent]:
        """USE on the catalog; the numbers of rows for whoever may read them all."""
        self._require_catalog()
        events = self._call(self._store.history, table)
        return [event if self._counts(event.table) else replace(event, rows=None) for event in events]

    def _counts(self, table: str) -> bool:
        """Whether the principal may know how many rows a table has."""
        rights, settings = self._given, self._store.settings
        policy = rights.policy_of_table(table)
        if policy.rows is not None or (is_in(table, *settings.joined_namespaces) and rights.is_under_policies):
            return False
        reads_view = is_in(table, settings.features_namespace) and rights.has(Privilege.READ, Kind.VIEW, view_of_table(table))
        return reads_view or rights.has(Privilege.READ, Kind.TABLE, table)
