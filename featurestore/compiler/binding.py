"""A service bound to versions of its views is a service plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.compiler.check_service import output_names, request_keys
from featurestore.compiler.expressions import spelling
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import ttl_microseconds
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.dsl.service import FeatureService
from featurestore.dsl.types import sql_type
from featurestore.dsl.view import FeatureView, Selection


@dataclass(frozen=True)
class ViewVersion:
    """One version of a view; `columns` holds the DuckDB type of each column of its feature table."""

    view: FeatureView
    version: int
    columns: Mapping[str, str]

    @property
    def table(self) -> str:
        """The name of its feature table."""
        return f"{self.view.name}_v{self.version}"


def bound(service: FeatureService, version: int, fingerprint: str, views: Mapping[str, ViewVersion]) -> ServicePlan:
    """A checked service resolved to these versions of its views, by the views' names."""
    return ServicePlan(
        service=service.name,
        version=version,
        fingerprint=fingerprint,
        uses=tuple(_use(selection, views[selection.view.name]) for selection in service.selections),
        request=tuple((name, sql_type(kind)) for name, kind in service.request.items()),
        derived=tuple((name, spelling(sql)) for name, sql in service.derived.items()),
    )


def _use(selection: Selection, found: ViewVersion) -> ViewUse:
    view = found.view
    names = feature_names(view) if selection.names is None else selection.names
    return ViewUse(
        label=selection.alias or view.name,
        view=view.name,
        version=found.version,
        table=found.table,
        keys=tuple(zip(view.entity.keys, request_keys(selection), strict=True)),
        features=tuple(zip(names, output_names(selection), strict=True)),
        key_types=tuple(found.columns[key] for key in view.entity.keys),
        feature_types=tuple(found.columns[name] for name in names),
        ttl=ttl_microseconds(view),
        every=view.every,
    )
