"""Find what a column, a feature, a training set or a model is computed from, and what is computed from it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from featurestore.compiler.expressions import resolve
from featurestore.compiler.lineage.column_uses import NO_COLUMN
from featurestore.errors import NotFound
from featurestore.pipelines.lineage.graph_builder import GraphBuilder, service_id
from featurestore.pipelines.lineage.lineage_graph import LineageGraph
from featurestore.pipelines.lineage.lineage_result import ColumnLineage, LineageNode
from featurestore.pipelines.lineage.store_lineage import column_names
from featurestore.records import definitions
from featurestore.records.definitions import Registry
from featurestore.records.runtime import Runtime
from featurestore.values.arguments import Direction
from featurestore.values.table_names import local_name

Side = Literal["target", "up", "down"]


def find_lineage(runtime: Runtime, name: str, direction: Direction = "both") -> ColumnLineage:
    """The lineage of what has this name: `view.feature`, `service.feature`, `namespace.table.column`, `path.column`, a training set, a
    model as models:/name/version or models:/name@alias, or all columns of a view, a service, a table or files.

    Raises: NotFound with the nearest names.
    """
    known = definitions.read_registry(runtime)
    builder = GraphBuilder(runtime, known)
    graph = builder.build()
    name, targets = _find_targets(runtime, _Targets(runtime, known, graph), name)
    nodes: dict[str, LineageNode] = {id: graph.nodes[id] for id in targets}
    edges: dict[tuple[str, str], None] = {}
    sides: tuple[Side, ...] = ("up", "down")
    for side in sides:
        if direction in (side, "both"):
            reached = graph.reach(targets, backward=side == "up")
            for id, dependence in reached.items():
                nodes.setdefault(id, replace(graph.nodes[id], side=side, dependence=dependence))
            edges.update({edge: None for edge in graph.edges if reached.keys() >= set(edge)})
    return ColumnLineage(
        name, direction, tuple(targets), tuple(nodes.values()), tuple(graph.edge(*edge) for edge in sorted(edges)), tuple(builder.untraced)
    )


def _find_targets(runtime: Runtime, targets: "_Targets", name: str) -> tuple[str, list[str]]:
    """The nodes that a name means, and the name: if it means nothing as it is, without the catalog's name in front."""
    try:
        return name, targets.find(name)
    except NotFound:
        local = local_name(name, runtime.settings.catalog_name)
        if local == name:
            raise
        return local, targets.find(local)


class _Targets:
    """Finds the nodes that a name means: a view comes before a service, and a service before a table."""

    def __init__(self, runtime: Runtime, known: Registry, graph: LineageGraph) -> None:
        self._runtime = runtime
        self._known = known
        self._graph = graph

    def find(self, name: str) -> list[str]:
        """The ids. Raises: NotFound."""
        node = self._graph.nodes.get(name)
        if node is not None and node.kind != "rows":
            return [name]
        if name.startswith("models:/"):
            return [self._model(name)]
        owner, dot, column = name.rpartition(".")
        places = list(self._places(owner)) if dot else []
        for place in places:
            if (id := self._find_in(place, column)) is not None:
                return [id]
        for place in self._places(name):
            if listed := self._all_of(place):
                return listed
        if places:
            raise NotFound("column", column, {name for place in places for name in self._names_in(place)}, places[0])
        raise NotFound("column, feature, training set or model of the name", name, self._all_names())

    def _places(self, name: str) -> Iterable[str]:
        """The tables, files and services of this name that exist: the current version of a view or a service, or one that is named."""
        view, service = self._known.latest("view", name), self._known.latest("service", name)
        if view is not None:
            yield self._runtime.features_table(view.table)
        if service is not None:
            yield service_id(name, service.version)
        for table in (self._runtime.features_table(name), name):
            if self._graph.nodes_of(table) or (not table.startswith("services:/") and column_names(self._runtime, table) is not None):
                yield table

    def _find_in(self, place: str, column: str) -> str | None:
        found = resolve(column, self._names_in(place))
        if found is None:
            return None
        if place.startswith("services:/"):
            return f"{place}/{found}"
        return self._graph.add_column(place, found)

    def _names_in(self, place: str) -> set[str]:
        if place.startswith("services:/"):
            return {self._graph.nodes[id].name for id in self._graph.nodes_of(place)}
        return {*self._graph.columns(place), *(column_names(self._runtime, place) or ())}

    def _all_of(self, place: str) -> list[str]:
        if not place.startswith("services:/"):
            for column in (*(column_names(self._runtime, place) or ()), NO_COLUMN):
                self._graph.add_column(place, column)
        return self._graph.nodes_of(place)

    def _model(self, uri: str) -> str:
        name, at, alias = uri.removeprefix("models:/").rpartition("@")
        for node in self._graph.nodes.values():
            if node.kind == "model" and at and node.name == name and alias in node.aliases:
                return node.id
        raise NotFound("model", uri, [id for id, node in self._graph.nodes.items() if node.kind == "model"])

    def _all_names(self) -> set[str]:
        views = {row.table: row.name for rows in self._known.rows.values() for row in rows if row.kind == "view"}
        named = {f"{views[table]}.{column}" for table in views for column in self._graph.columns(self._runtime.features_table(table))}
        return {*named, *self._known.names("view"), *self._known.names("service"), *self._graph.nodes}
