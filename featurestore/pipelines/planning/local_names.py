"""Definitions with the names of tables within the catalog: without the name of the catalog, which users may write in front."""

from collections.abc import Iterator
from dataclasses import replace

from featurestore.compiler.catalog_prefix import without_catalog
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.lineage.view_lineage import source_tables
from featurestore.dsl.definitions import Definitions, Place
from featurestore.dsl.policy import TablePolicy
from featurestore.dsl.service import FeatureService
from featurestore.dsl.source import Source
from featurestore.dsl.view import FeatureView, Selection
from featurestore.errors import Problem, RequestError
from featurestore.records.named_tables import check_namespace, check_query
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import local_name


def with_local_names(definitions: Definitions, catalog: str) -> Definitions:
    """The definitions with names of tables within the catalog of this name; a policy declared twice, under both names, is a problem."""
    sources = {source.name: _local_source(source, catalog) for source in definitions.sources}
    views = {view.name: _local_view(view, sources) for view in definitions.views}
    policies, problems = _local_policies(definitions, catalog)
    places: dict[tuple[str, str], Place] = dict(definitions.places)
    for before, after in zip(definitions.policies, policies, strict=True):
        if ("policy", before.name) in places:
            places["policy", after.name] = places["policy", before.name]
    return replace(
        definitions,
        sources=tuple(sources[source.name] for source in definitions.sources),
        views=tuple(views[view.name] for view in definitions.views),
        services=tuple(_local_service(service, views) for service in definitions.services),
        policies=tuple({policy.name: policy for policy in policies}.values()),
        places=places,
        problems=(*definitions.problems, *problems),
    )


def other_catalogs(runtime: Runtime, definitions: Definitions) -> Iterator[Problem]:
    """A problem for each source and policy that names a table of another catalog; names are those within the catalog."""
    for source in definitions.sources:
        try:
            names = () if source.files is not None or source.kept else source_tables(source)
        except SqlProblem:
            # Checks of definitions say what is wrong with it.
            continue
        field = "sql" if source.sql is not None else "table"
        yield from (definitions.problem("source", source.name, field, text) for text in _foreign(runtime, names, field, source.sql or ""))
    for policy in definitions.policies:
        yield from (definitions.problem("policy", policy.name, "table", text) for text in _foreign(runtime, (policy.table,), "table"))


def _foreign(runtime: Runtime, names: tuple[str, ...], field: str, sql: str = "") -> Iterator[str]:
    try:
        check_query(runtime, sql, field)
        for name in names:
            check_namespace(runtime, name.rpartition(".")[0], field)
    except RequestError as error:
        yield error.message.removeprefix(f"{field}: ")


def _local_source(source: Source, catalog: str) -> Source:
    table = local_name(source.table, catalog) if isinstance(source.table, str) and source.url is None else source.table
    sql = without_catalog(source.sql, catalog) if isinstance(source.sql, str) else source.sql
    return source if (table, sql) == (source.table, source.sql) else replace(source, table=table, sql=sql)


def _local_view(view: FeatureView, sources: dict[str, Source]) -> FeatureView:
    source = sources.get(view.source.name, view.source)
    return view if source == view.source else replace(view, source=source)


def _local_service(service: FeatureService, views: dict[str, FeatureView]) -> FeatureService:
    features = tuple(
        replace(item, view=views.get(item.view.name, item.view)) if isinstance(item, Selection) else item for item in service.features
    )
    return service if features == service.features else replace(service, features=features)


def _local_policies(definitions: Definitions, catalog: str) -> tuple[list[TablePolicy], list[Problem]]:
    policies: list[TablePolicy] = []
    problems: list[Problem] = []
    seen: dict[str, TablePolicy] = {}
    for policy in definitions.policies:
        table = local_name(policy.table, catalog) if isinstance(policy.table, str) else policy.table
        local = policy if table == policy.table else replace(policy, table=table)
        if seen.setdefault(local.name, local) != local:
            message = "another policy of this table is defined differently, under its name with that of the catalog; leave one of them out"
            problems.append(definitions.problem("policy", policy.name, "table", message))
        policies.append(local)
    return policies, problems
