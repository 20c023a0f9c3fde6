"""What a store lists: definitions, training sets, models, and the health of its components."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featurestore import verbs
from featurestore.records import describe
from featurestore.records.health import StoreHealth, check_components, error_of
from featurestore.records.names import service_name, view_name
from featurestore.store.connections import Connections
from featurestore.values.arguments import Direction, check_direction, check_flag, check_name, check_text
from featurestore.values.table_names import local_name

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.impact_result import Impact
    from featurestore.pipelines.lineage.lineage_result import ColumnLineage
    from featurestore.pipelines.training_sets.listing import TrainingSetInfo
    from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo


class Listings(Connections):
    """The methods that list and describe what the store has."""

    def entities(self) -> list[EntityInfo]:
        """The applied entities."""
        return describe.entities(self._runtime)

    def sources(self) -> list[SourceInfo]:
        """The applied sources."""
        return describe.sources(self._runtime)

    def views(self) -> list[ViewInfo]:
        """The newest version of every view, with its snapshot and watermark."""
        return describe.views(self._runtime)

    def view(self, name: str) -> ViewDetail:
        """One view with all versions and the SQL of the newest. Raises: NotFound with the nearest names."""
        return describe.view(self._runtime, view_name(name))

    def services(self) -> list[ServiceInfo]:
        """Every service at the version that is served."""
        return describe.services(self._runtime)

    def service(self, name: str) -> ServiceDetail:
        """One service: features, request fields, key columns, versions. Raises: NotFound with the nearest names."""
        return describe.service(self._runtime, service_name(name))

    def training_sets(self) -> list[TrainingSetInfo]:
        """Every training set, newest first."""
        return verbs.list_training_sets(self._runtime)

    def models(self) -> list[ModelInfo]:
        """Every version of every model that was logged with a training set, newest first, with its aliases, as MLflow has them now.

        What was done through MLflow itself (versions registered, copied or deleted, aliases and stages set) is recorded in
        `registry.models` first. If MLflow does not respond, they are listed as recorded, and that is logged as a warning.
        """
        return describe.models(self._runtime)

    def impact(self, table: str, column: str | None = None) -> Impact:
        """What depends on a table or one of its columns: views with their features, services, training sets, models, logged predictions.

        `table` is a source table, the path of a source's files, or a feature table such as features.customer_orders_v1. A feature depends
        directly on the columns that its values are computed from, and indirectly on keys, times and conditions. Raises: NotFound with the
        nearest names.
        """
        name = local_name(check_text(table, "table"), self._runtime.settings.catalog_name)
        return verbs.find_impact(self._runtime, name, None if column is None else check_text(column, "column"))

    def lineage(self, name: str, direction: Direction = "both") -> ColumnLineage:
        """What a column, a feature, a training set or a model is computed from ("up"), and what is computed from it ("down"), as a graph.

        `name` is `view.feature`, `service.feature`, `namespace.table.column`, `path.column`, the id of a training set, a model as
        models:/churn/1 or models:/churn@champion, or all columns of a view, a service, a table or files by their name. Older versions are
        named as `view_v1.feature` and `services:/churn/1/feature`. Columns of conditions, joins, keys and times are indirect.
        Raises: NotFound with the nearest names.
        """
        return verbs.find_lineage(self._runtime, check_name(name, "name"), check_direction(direction))

    def check(self, write: bool = False) -> StoreHealth:
        """Check catalog, warehouse and online store with a small request to each.

        An online store that has lost tables is an error too. With `write`, an object is written to the warehouse and removed.
        """
        errors = check_components(self._runtime, check_flag(write, "write"))
        if not any(errors.values()):
            errors["online store"] = error_of(self._lost_tables.raise_lost)
        return StoreHealth(errors)
