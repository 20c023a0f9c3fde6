"""The lineage of views and services: the stored columns behind each feature, through the source's SQL and the definition's."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from featurestore.compiler.check import TIME_COLUMNS
from featurestore.compiler.expressions import parse_query, parse_row, query_tables
from featurestore.compiler.features import ExpressionFeature, RowFeature, feature_names, features_of
from featurestore.compiler.lineage import column_uses
from featurestore.compiler.lineage.column_uses import NONE, TracedRelation, Use, Uses, count_uses, in_role, stored_relation, union
from featurestore.compiler.lineage.query_lineage import QueryTracer
from featurestore.compiler.lineage.traced_scope import Scope
from featurestore.compiler.parsing import with_large_stack
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView

Tables = Mapping[str, Collection[str] | None]
"""The columns of each stored table; None if they are not known."""


@dataclass(frozen=True)
class Lineage:
    """The uses behind each column of something computed: the features and keys of a view or a service, and the time columns of a view."""

    features: Mapping[str, Uses]
    keys: Mapping[str, Uses]
    times: Mapping[str, Uses] = field(default_factory=dict)


def source_tables(source: Source) -> tuple[str, ...]:
    """The stored tables that a source reads, or the path of its files. Raises: SqlProblem for SQL that is not accepted."""
    if source.sql is not None:
        return query_tables(parse_query(source.sql))
    return () if source.written else (str(source.catalog_table or source.path),)


def trace_view(view: FeatureView, tables: Tables) -> Lineage:
    """Trace the features and keys of a checked view. Raises: SqlProblem for SQL that is not accepted."""
    return with_large_stack(lambda: _trace_view(view, tables), f"view {view.name}")


def trace_service(plan: ServicePlan) -> Lineage:
    """Trace the features and key columns of a service to the columns of its feature tables, named without their namespace, and to its
    request fields, columns of REQUEST."""
    columns: dict[str, Uses] = {name: frozenset({Use(column_uses.REQUEST, name)}) for name, _ in plan.request}
    keys: dict[str, Uses] = {}
    for use in plan.uses:
        looked_up = frozenset(Use(use.table, key, column_uses.KEY) for key, _ in use.keys)
        for key, column in use.keys:
            keys[column] = keys.get(column, NONE) | {Use(use.table, key, column_uses.KEY)}
        columns.update({output: looked_up | {Use(use.table, feature)} for feature, output in use.features})
    features = {name: columns[name] for name in plan.looked_up_names}
    scope = Scope(relations={"": TracedRelation(tuple(columns.items()))})
    for name, sql in plan.derived:
        features[name] = with_large_stack(lambda sql=sql: _row_uses(sql, scope), sql)  # type: ignore[misc]
    return Lineage(features, keys)


def _trace_view(view: FeatureView, tables: Tables) -> Lineage:
    source = view.source
    if source.written:
        # Its rows come from programs, and nothing stored is behind them.
        return Lineage(*(dict.fromkeys(names, NONE) for names in (feature_names(view), view.entity.keys, TIME_COLUMNS)))
    raw = _source_relation(source, tables)
    scope = _source_scope(source, raw)
    keys = {key: _column_uses(key, scope) for key in view.entity.keys}
    time = _column_uses(source.timestamp, scope)
    created = _column_uses(source.created, scope) if source.created else NONE
    always = union(
        [
            raw.rows,
            in_role(union(keys.values()), column_uses.KEY),
            in_role(time, column_uses.TIMESTAMP),
            in_role(created, column_uses.CREATED),
            in_role(_row_uses(source.where, scope), column_uses.FILTER),
        ]
    )
    features: dict[str, Uses] = {}
    for feature in features_of(view):
        if isinstance(feature, ExpressionFeature):
            features[feature.name] = _row_uses(feature.sql, Scope(relations={"": TracedRelation(tuple(features.items()))})) | always
        elif isinstance(feature, RowFeature):
            features[feature.name] = _row_uses(feature.sql, scope) | always
        else:
            aggregation = feature.aggregation
            where = in_role(_row_uses(aggregation.where, scope), column_uses.FILTER)
            value = count_uses(raw.rows) if aggregation.column is None else _row_uses(aggregation.column, scope)
            features[feature.name] = value | where | always
    times = {"feature_timestamp": time, "created_timestamp": created}
    return Lineage(features, {key: uses | always for key, uses in keys.items()}, {name: uses | always for name, uses in times.items()})


def _source_relation(source: Source, tables: Tables) -> TracedRelation:
    if source.sql is not None:
        return QueryTracer(tables).query(parse_query(source.sql), {}, None)
    name = str(source.catalog_table or source.path)
    return stored_relation(name, tables.get(name))


def _source_scope(source: Source, raw: TracedRelation) -> Scope:
    """The names that row SQL over the source may use: raw columns, and those of `columns=`, which replace raw ones of the same name."""
    columns = list(raw.columns)
    for name, sql in source.columns.items():
        scope = Scope(relations={"": TracedRelation(tuple(columns), NONE, raw.unlisted)})
        columns.insert(0, (name, _row_uses(sql, scope)))
    return Scope(relations={"": TracedRelation(tuple(columns), NONE, raw.unlisted)})


def _row_uses(sql: str | None, scope: Scope) -> Uses:
    return NONE if sql is None else QueryTracer({}).expression(parse_row(sql), scope, {})


def _column_uses(name: str, scope: Scope) -> Uses:
    """The uses behind a column that is named, not written as SQL."""
    relation = scope.relations[""]
    listed = relation.column(name)
    if listed is not None:
        return listed
    return NONE if relation.unlisted is None else relation.unlisted(name)
