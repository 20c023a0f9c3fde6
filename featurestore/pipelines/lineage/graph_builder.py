"""Build the lineage graph of a store from its registry, the manifests of its training sets, and its models."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from featurestore.compiler.expressions import SqlProblem, parse_query, query_tables
from featurestore.compiler.lineage import column_uses
from featurestore.compiler.lineage.column_uses import NO_COLUMN, REQUEST, ROWS, VALUE, Use, union
from featurestore.compiler.lineage.query_lineage import QueryTracer
from featurestore.compiler.lineage.view_lineage import trace_service
from featurestore.compiler.parsing import with_large_stack
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import Conflict
from featurestore.pipelines.lineage.lineage_graph import SPINE, LineageGraph, column_id
from featurestore.pipelines.lineage.lineage_result import LineageNode
from featurestore.pipelines.lineage.store_lineage import TracedView, column_names, trace_store
from featurestore.pipelines.training_sets.listing import read_manifests
from featurestore.records import describe, stored_definition
from featurestore.records.definitions import Registry
from featurestore.records.runtime import Runtime


class GraphBuilder:
    """Adds views, services, training sets and models, each connected with its sources; `untraced` are those that cannot be read."""

    def __init__(self, runtime: Runtime, known: Registry) -> None:
        self._runtime = runtime
        self._known = known
        self._plans: dict[tuple[str, int], list[ServicePlan]] = {}
        self.graph = LineageGraph()
        self.untraced: list[str] = []

    def build(self) -> LineageGraph:
        """The graph; of tables, only the registry, the manifests and the records of models are read."""
        traced = trace_store(self._runtime, self._known)
        self.untraced += traced.untraced
        for view in traced.views:
            self._add_features(view)
        for view in traced.views:
            self._connect_view(view)
        for name in self._known.names("service"):
            for row in self._known.rows["service", name]:
                self._trace(f"service {name} v{row.version}", lambda row=row: self._add_service(self._known.plan(row)))  # type: ignore[misc]
        for manifest in read_manifests(self._runtime):
            self._add_training_set(manifest)
        self._add_models()
        self.graph.connect_unknown_columns()
        return self.graph

    def _trace(self, what: str, trace: Callable[[], object]) -> None:
        try:
            trace()
        except (SqlProblem, Conflict):
            self.untraced.append(what)

    def _add_features(self, view: TracedView) -> None:
        current = self._known.latest("view", view.row.name) == view.row
        for name in view.columns:
            if name in view.lineage.features:
                id = column_id(view.table, name)
                self.graph.add(LineageNode(id, "feature", name, view.table, str(view.row.version), current))
            self.graph.add_column(view.table, name)

    def _connect_view(self, view: TracedView) -> None:
        for name, uses in view.columns.items():
            self._connect(uses, column_id(view.table, name))
        # A key, a time or a condition of any column decides which rows there are.
        deciding = (use for use in union(view.columns.values()) if use.role != VALUE)
        self._connect(deciding, self.graph.add_column(view.table, NO_COLUMN))

    def _connect(self, uses: Iterable[Use], target: str) -> None:
        for use in uses:
            self.graph.connect(self.graph.add_column(use.table, use.column), target, use.role)

    def _add_service(self, plan: ServicePlan) -> None:
        known = self._plans.setdefault((plan.service, plan.version), [])
        if plan in known:
            return
        known.append(plan)
        owner, version = service_id(plan.service, plan.version), str(plan.version)
        latest = self._known.latest("service", plan.service)
        current = latest is not None and latest.version == plan.version
        for name, uses in trace_service(plan).features.items():
            feature = self.graph.add(LineageNode(f"{owner}/{name}", "service feature", name, owner, version, current))
            for use in uses:
                if use.table == REQUEST:
                    source = LineageNode(f"{owner}/{use.column}", "request field", use.column, owner, version, current)
                    self.graph.connect(self.graph.add(source), feature, use.role)
                else:
                    self.graph.connect(self.graph.add_column(self._runtime.features_table(use.table), use.column), feature, use.role)

    def _add_training_set(self, manifest: Mapping[str, Any]) -> None:
        id = self.graph.add(LineageNode(manifest["id"], "training set", manifest["id"]))

        def connect_features() -> None:
            plan = stored_definition.stored_plan(manifest["plan"], f"the manifest of training set {id}")
            self._add_service(plan)
            for name in plan.feature_names:
                self.graph.connect(f"{service_id(plan.service, plan.version)}/{name}", id, VALUE)

        self._trace(f"training set {id}", connect_features)
        self._trace(f"the spine of training set {id}", lambda: self._connect_spine(manifest["spine"], id))

    def _connect_spine(self, spine: Mapping[str, Any], id: str) -> None:
        """Connect the columns that a spine was read from; one that was sent or read from a file has none."""
        if spine.get("table") is not None:
            for column in spine["columns"]:
                self.graph.connect(self.graph.add_column(spine["table"], column), id, SPINE)
            self.graph.connect(self.graph.add_column(spine["table"], NO_COLUMN), id, ROWS)
        elif spine.get("sql") is not None:
            tree = parse_query(spine["sql"])
            columns = {table: column_names(self._runtime, table) for table in query_tables(tree)}
            relation = with_large_stack(lambda: QueryTracer(columns).query(tree, {}, None), f"the spine of training set {id}")
            for use in relation.everything() | relation.rows:
                role = SPINE if use.role == VALUE else use.role
                self.graph.connect(self.graph.add_column(use.table, use.column), id, role)

    def _add_models(self) -> None:
        for model in describe.models(self._runtime):
            id = f"models:/{model.model}/{model.version}" if model.version is not None else f"models:/{model.model_id or model.run_id}"
            node = LineageNode(id, "model", model.model, None, model.version, aliases=model.aliases)
            self.graph.add(node)
            if model.training_set in self.graph.nodes:
                self.graph.connect(model.training_set, id, VALUE)
            else:
                for table in model.snapshots:
                    source = self.graph.add_column(self._runtime.features_table(table), NO_COLUMN)
                    self.graph.connect(source, id, column_uses.ROWS)


def service_id(name: str, version: int) -> str:
    """The id of a version of a service, before the names of its features and request fields."""
    return f"services:/{name}/{version}"
