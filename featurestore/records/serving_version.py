"""Choose the version of a service to serve: the newest whose views are all materialized."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain

from featurestore.compiler.row_policy import BoundPolicy, RowPolicy
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound, NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records import definitions, feature_table
from featurestore.records.definitions import Registry
from featurestore.records.names import service_name
from featurestore.records.online_tables import OnlineTables
from featurestore.records.reader import Reader
from featurestore.records.runtime import Runtime
from featurestore.records.staleness import StalePolicy, stale_from, stale_policies
from featurestore.values import times
from featurestore.values.single_flight import SingleFlight


@dataclass(frozen=True)
class ResolvedService:
    """A service plan, its feature tables as loaded for the choice of version, and notes for the user about that choice."""

    plan: ServicePlan
    tables: Mapping[str, Table]
    notes: tuple[str, ...] = ()
    policies: Mapping[str, StalePolicy] = field(default_factory=dict)


class Services:
    """Resolves services to plans; `current` caches them until something is applied or published."""

    def __init__(self, runtime: Runtime, online_tables: OnlineTables) -> None:
        self._runtime, self._online_tables = runtime, online_tables
        self._lock = threading.Lock()
        # After a publish, all requests need the same plans: one thread reads the catalog, and the others wait for what it finds.
        self._plan_reads = SingleFlight[ServicePlan]()
        self._policy_reads = SingleFlight[Mapping[str, StalePolicy]]()
        self._registry: Registry | None = None
        self._plans: dict[str, ServicePlan] = {}
        self._stale_from: dict[str, int | None] = {}
        self._policies: tuple[int, Mapping[str, StalePolicy]] = (-1, {})
        self._columns: tuple[int, Mapping[str, Mapping[str, str]]] = (-1, {})
        self._column_reads = SingleFlight[Mapping[str, Mapping[str, str]]]()
        self._generation = -1

    def resolve(self, name: str) -> ResolvedService:
        """The version to serve, read from the catalog. Raises: NotFound with the nearest names."""
        return resolve_service(self._runtime, definitions.read_registry(self._runtime), service_name(name))

    def cached(self, name: str) -> ServicePlan | None:
        """The cached plan of the version to serve; None if it is not cached, or the online store has changed since."""
        generation = self._runtime.online.generation()
        with self._lock:
            if generation != self._generation:
                self._plans.clear()
                self._stale_from.clear()
                self._generation = generation
            return self._plans.get(service_name(name))

    def cached_with_generation(self, name: str) -> tuple[ServicePlan, int] | None:
        """The version to serve that memory holds, and the generation of the online store that it holds for; None if it holds none,
        or some table was found to be lost, or a view of it is stale."""
        # In this order: a plan that is newer than its generation is not used, one that is older would be.
        generation = self._generation
        plan = self._plans.get(name)
        if plan is None or self._online_tables.lost:
            return None
        stale_from = self._stale_from.get(name)
        return None if stale_from is not None and times.now() >= stale_from else (plan, generation)

    def policies(self, generation: int) -> Mapping[str, StalePolicy]:
        """The policies of views that may be stale, by feature table, in a generation of the online store; those of the last are cached."""
        known_generation, policies = self._policies
        if known_generation != generation:
            policies = self._policy_reads.call(generation, lambda: stale_policies(self._read_registry()))
            self._policies = (generation, policies)
        return policies

    def row_policies(self, reader: Reader, plan: ServicePlan) -> Mapping[str, BoundPolicy]:
        """What is in force for a reader on the rows of a plan's views, by feature table; only of those of which something is hidden.

        Raises: NotReady if policies were not read lately, or a table is not among the recorded ones.
        """
        in_force = {
            use.table: policy
            for use in plan.uses
            if not (policy := reader.policy_of_table(self._runtime.features_table(use.table))).is_open
        }
        return bind_policies(in_force, self._column_types()) if in_force else {}

    def cached_column_types(self, generation: int) -> Mapping[str, Mapping[str, str]] | None:
        """The columns of feature tables with their DuckDB types, if they are cached for this generation of the online store."""
        known_generation, columns = self._columns
        return columns if known_generation == generation else None

    def _column_types(self) -> Mapping[str, Mapping[str, str]]:
        generation = self._runtime.online.generation()
        known = self.cached_column_types(generation)
        if known is None:
            known = self._column_reads.call(generation, lambda: _columns_of_tables(self._read_registry()))
            self._columns = (generation, known)
        return known

    def current(self, name: str) -> ServicePlan:
        """The plan of the version to serve, cached until the online store changes. Raises: NotReady if that has lost a table."""
        name = service_name(name)
        cached = self.cached(name)
        if cached is not None:
            return cached
        generation = self._generation
        return self._plan_reads.call((name, generation), lambda: self._resolve_current(name, generation))

    def _resolve_current(self, name: str, generation: int) -> ServicePlan:
        known = self._read_registry()
        plan = resolve_service(self._runtime, known, name, online=True).plan
        # Checked now, so that a lookup with a cached plan reads only the online store.
        self._online_tables.verify(use.table for use in plan.uses)
        policies = stale_policies(known)
        stale = stale_from(policies, plan, {use.table: self._runtime.online.cursor(use.table) for use in plan.uses}) if policies else None
        with self._lock:
            if generation == self._generation:
                self._policies = (generation, policies)
                self._stale_from[name] = stale
                self._plans[name] = plan
        return plan

    def _read_registry(self) -> Registry:
        self._registry = definitions.read_registry(self._runtime, self._registry)
        return self._registry


def bind_policies(in_force: Mapping[str, RowPolicy], columns: Mapping[str, Mapping[str, str]]) -> dict[str, BoundPolicy]:
    """Policies by feature table, for the recorded columns of these tables. Raises: NotReady for a table that is not recorded."""
    if unknown := [table for table in in_force if table not in columns]:
        raise NotReady(f"the registry does not say which columns {unknown[0]} has, so that its policy cannot be applied", table=unknown[0])
    return {table: policy.bind(columns[table]) for table, policy in in_force.items()}


def _columns_of_tables(known: Registry) -> dict[str, Mapping[str, str]]:
    return {
        applied.table: {name: sql_type for name, sql_type in applied.columns.items() if name != "created_timestamp"}
        for (kind, _), versions in known.rows.items()
        if kind == "view"
        for applied in versions
    }


def resolve_service(runtime: Runtime, known: Registry, name: str, online: bool = False, staged: Collection[str] = ()) -> ResolvedService:
    """The newest version of a service whose views are all materialized; if there is none, the newest version.

    With `online`, the newest version whose views are also published, if there is one: a backfill publishes at its end. Tables
    in `staged` are about to be published.
    """
    versions = known.rows.get(("service", name))
    if not versions:
        raise NotFound("service", name, known.names("service"))
    newest = known.plan(versions[-1])
    loaded: dict[str, Table] = {}
    ready = (plan for applied in reversed(versions) if _is_materialized(runtime, plan := known.plan(applied), loaded))
    plan = next(ready, newest)
    if online:
        plan = next((candidate for candidate in chain([plan], ready) if _is_published(runtime, candidate, staged)), plan)
    if plan.version == newest.version:
        return ResolvedService(plan, loaded, policies=stale_policies(known))
    note = f"service {name} version {newest.version} is not materialized yet; version {plan.version} was used"
    return ResolvedService(plan, loaded, (note,), stale_policies(known))


def _is_published(runtime: Runtime, plan: ServicePlan, staged: Collection[str]) -> bool:
    return all(table in staged or runtime.online.cursor(table) is not None for table in {use.table for use in plan.uses})


def _is_materialized(runtime: Runtime, plan: ServicePlan, loaded: dict[str, Table]) -> bool:
    """Whether all feature tables of a plan are materialized; tables that are loaded for this are added to `loaded`."""
    for name in dict.fromkeys(use.table for use in plan.uses):
        if name not in loaded:
            loaded[name] = tables.load(runtime.catalog, runtime.features_table(name))
        if feature_table.state_of(loaded[name].properties).through is None:
            return False
    return True
