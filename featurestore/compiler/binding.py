"""Bind a service to versions of its views, which gives a service plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.compiler.check_service import label_of, output_names, request_keys
from featurestore.compiler.expressions import canonical_or_same
from featurestore.compiler.features import feature_names
from featurestore.compiler.fingerprint import lookback_microseconds, ttl_microseconds
from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.dsl.lookup import Lookup
from featurestore.dsl.service import FeatureService
from featurestore.dsl.value_types import sql_type_of_name
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


def bind_service(service: FeatureService, version: int, fingerprint: str, views: Mapping[str, ViewVersion]) -> ServicePlan:
    """Resolve a checked service to these versions of its views, given by view name."""
    return ServicePlan(
        service=service.name,
        version=version,
        fingerprint=fingerprint,
        uses=tuple(_use(selection, views[selection.view.name]) for selection in service.selections),
        request=tuple((name, sql_type_of_name(type_name)) for name, type_name in service.request.items()),
        derived=tuple((name, canonical_or_same(sql)) for name, sql in service.derived.items()),
    )


def _use(selection: Selection, version: ViewVersion) -> ViewUse:
    view = version.view
    names = feature_names(view) if selection.names is None else selection.names
    outputs, lookup = output_names(selection), selection.lookup or Lookup("")
    lookback = lookback_microseconds(lookup)
    return ViewUse(
        label=label_of(selection),
        view=view.name,
        version=version.version,
        table=version.table,
        keys=tuple(zip(view.entity.keys, request_keys(selection), strict=True)),
        features=tuple(zip(names, outputs, strict=True)),
        key_types=tuple(version.columns[key] for key in view.entity.keys),
        feature_types=tuple(version.columns[name] for name in names),
        ttl=ttl_microseconds(view) if lookback is None else lookback,
        every=view.every,
        time=lookup.timestamp,
        defaults=tuple((output, lookup.defaults[name]) for name, output in zip(names, outputs, strict=True) if name in lookup.defaults),
    )
