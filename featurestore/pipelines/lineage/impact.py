"""Find what depends on a table or one of its columns: views, services, training sets, models and predictions."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import resolve
from featurestore.compiler.lineage.column_uses import NO_COLUMN
from featurestore.compiler.lineage.view_lineage import trace_service
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound
from featurestore.lakehouse import scans, tables
from featurestore.pipelines.lineage.dependents import Dependents
from featurestore.pipelines.lineage.impact_result import (
    AffectedModel,
    AffectedPredictions,
    AffectedService,
    AffectedTrainingSet,
    AffectedView,
    Dependence,
    Impact,
)
from featurestore.pipelines.lineage.store_lineage import StoreLineage, column_names, trace_store
from featurestore.pipelines.training_sets.listing import read_manifests
from featurestore.records import definitions, describe, stored_definition
from featurestore.records.definitions import Registry
from featurestore.records.named_tables import check_namespace
from featurestore.records.runtime import Runtime

Features = Mapping[str, Dependence]
COUNTED = ("model", "version", "training_set")
"""The columns by which predictions are counted."""


@dataclass(frozen=True)
class _Target:
    """The table and column whose dependents are wanted, as the catalog spells them."""

    table: str
    column: str | None


def find_impact(runtime: Runtime, table: str, column: str | None = None) -> Impact:
    """Everything that depends on a source table, the path of a source's files, or a feature table, or on one column of it.

    Raises: NotFound with the nearest names for a table that neither exists nor is read, and for an unknown column.
    """
    known = definitions.read_registry(runtime)
    store = trace_store(runtime, known)
    target = _find_target(runtime, store, table, column)
    dependents = Dependents(target.table, target.column)
    dependents.spread(store.views)
    manifests = list(read_manifests(runtime))
    sets = list(_training_sets(runtime, manifests, dependents, target))
    models = _models(runtime, {manifest["id"] for manifest in manifests}, {affected.id: affected for affected in sets}, dependents)
    return Impact(
        target.table,
        target.column,
        views=tuple(_views(known, store, dependents, target)),
        services=tuple(_services(runtime, known, dependents)),
        training_sets=tuple(sets),
        models=tuple(models),
        predictions=tuple(_predictions(runtime, models)),
        untraced=store.untraced,
    )


def _find_target(runtime: Runtime, store: StoreLineage, table: str, column: str | None) -> _Target:
    feature_tables = {view.table: view for view in store.views}
    named = runtime.features_table(table) if runtime.features_table(table) in feature_tables else table
    used = {use.column for view in store.views for uses in view.columns.values() for use in uses if use.table == named}
    columns = (store.tables.get(named) or ()) if named in store.tables else column_names(runtime, named)
    if columns is None:
        namespace = named.rpartition(".")[0]
        listed = [f"{namespace}.{name}" for name in tables.list_tables(runtime.catalog, namespace)] if namespace else []
        check_namespace(runtime, namespace, "table")
        raise NotFound("table", table, {*store.tables, *feature_tables, *listed})
    if column is None:
        return _Target(named, None)
    known = {*columns, *(name for name in used if name.isprintable() and name not in ("", "*"))}
    name = resolve(column, known)
    if name is None:
        raise NotFound("column", column, known, named)
    return _Target(named, name)


def _views(known: Registry, store: StoreLineage, dependents: Dependents, target: _Target) -> Iterator[AffectedView]:
    for view in store.views:
        itself = view.table == target.table
        features: dict[str, Dependence] = {}
        roles: set[str] = set()
        for name, uses in view.lineage.features.items():
            how = dependents.mark(view.table, name) if itself else dependents.dependence(uses)
            if how is not None:
                features[name] = how
                roles |= dependents.roles(uses)
        if features:
            current = known.get("view", view.row.name).version == view.row.version
            yield AffectedView(view.row.name, view.row.version, view.table, current, features, tuple(sorted(roles)))


def _services(runtime: Runtime, known: Registry, dependents: Dependents) -> Iterator[AffectedService]:
    for name in known.names("service"):
        for row in known.rows["service", name]:
            features = _service_features(runtime, known.plan(row), dependents)
            if features:
                yield AffectedService(name, row.version, known.get("service", name).version == row.version, features)


def _service_features(runtime: Runtime, plan: ServicePlan, dependents: Dependents) -> Features:
    features: dict[str, Dependence] = {}
    for name, uses in trace_service(plan).features.items():
        qualified = frozenset(replace(use, table=runtime.features_table(use.table)) for use in uses)
        if (how := dependents.dependence(qualified)) is not None:
            features[name] = how
    return features


def _training_sets(
    runtime: Runtime, manifests: Iterable[Mapping[str, Any]], dependents: Dependents, target: _Target
) -> Iterator[AffectedTrainingSet]:
    for manifest in manifests:
        stored = f"{runtime.settings.training_sets_namespace}.{manifest['name']}"
        if stored == target.table:
            names = [column["name"] for column in manifest["columns"] if column["role"] != "spine"]
            features: Features = {name: "direct" for name in names if target.column in (None, name)}
        else:
            plan = stored_definition.stored_plan(manifest["plan"], f"the manifest of training set {manifest['id']}")
            features = _service_features(runtime, plan, dependents)
        spine = _is_spine(manifest, target) or stored == target.table
        if features or spine:
            yield AffectedTrainingSet(manifest["id"], manifest["service"]["name"], features, spine)


def _is_spine(manifest: Mapping[str, Any], target: _Target) -> bool:
    """Whether the rows to train on were read from the target."""
    spine = manifest["spine"]
    read = {*spine.get("tables", ()), spine.get("table")}
    return target.table in read and (target.column is None or target.column in spine["columns"])


def _models(
    runtime: Runtime, stored: Collection[str], sets: Mapping[str, AffectedTrainingSet], dependents: Dependents
) -> list[AffectedModel]:
    """The models of affected training sets, and those whose training set is not `stored` any more and that read an affected table."""
    affected_models: dict[tuple[str, str | None, str], AffectedModel] = {}
    for model in describe.models(runtime):
        affected = sets.get(model.training_set)
        reads = any(dependents.mark(runtime.features_table(table), NO_COLUMN) for table in model.snapshots)
        if affected is not None or (reads and model.training_set not in stored):
            features = {} if affected is None else affected.features
            # Several logged models of a name that are not registered, or not any more, are shown as one.
            affects = AffectedModel(model.model, model.version, model.aliases, model.training_set, features)
            affected_models.setdefault((model.model, model.version, model.training_set), affects)
    return list(affected_models.values())


def _predictions(runtime: Runtime, models: Sequence[AffectedModel]) -> Iterator[AffectedPredictions]:
    """The logged predictions of affected models, by table, model and version."""
    sets = {model.training_set for model in models}
    namespace = runtime.settings.inference_namespace
    for name in tables.list_tables(runtime.catalog, namespace) if sets else ():
        identifier = f"{namespace}.{name}"
        for (model, version), rows in sorted(_count_rows(runtime, identifier, sets).items(), key=str):
            yield AffectedPredictions(identifier, model, version, rows)


def _count_rows(runtime: Runtime, identifier: str, sets: Collection[str]) -> Counter[tuple[str, str | None]]:
    """The rows of a table of predictions by model and version, of models with these training sets."""
    table = tables.load(runtime.catalog, identifier)
    counted: Counter[tuple[str, str | None]] = Counter()
    # Numbers of rows are all that is told of them.
    log = runtime.as_operator().operator.grant(table)
    for batch in scans.read_snapshot(log, table.snapshot_id, columns=COUNTED):
        for group in pa.table(batch).group_by(list(COUNTED)).aggregate([([], "count_all")]).to_pylist():
            if group["training_set"] in sets:
                counted[group["model"], group["version"]] += group["count_all"]
    return counted
