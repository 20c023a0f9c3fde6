"""Which version of a service is served: the newest whose views are all materialized."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound
from featurestore.lakehouse import tables
from featurestore.lakehouse.tables import Table
from featurestore.records import definitions, feature_table
from featurestore.records.definitions import Registry
from featurestore.records.names import service_name
from featurestore.records.online_tables import Filling
from featurestore.records.runtime import Runtime


@dataclass(frozen=True)
class Resolved:
    """A service plan, its feature tables as they were when it was chosen, and what its user should know about the choice of version."""

    plan: ServicePlan
    tables: Mapping[str, Table]
    notes: tuple[str, ...] = ()


class Services:
    """Resolves services; `current` remembers them until something is applied or published."""

    def __init__(self, runtime: Runtime, filling: Filling) -> None:
        self._runtime, self._filling = runtime, filling
        self._lock = threading.Lock()
        self._plans: dict[str, ServicePlan] = {}
        self._generation = -1

    def resolve(self, name: str) -> Resolved:
        """The version to serve, read from the catalog. Raises: NotFound with the nearest names."""
        return resolve_service(self._runtime, definitions.read_registry(self._runtime), service_name(name))

    def held(self, name: str) -> ServicePlan | None:
        """The version to serve; None when memory does not hold it, or the online store has changed since."""
        generation = self._runtime.online.generation()
        with self._lock:
            if generation != self._generation:
                self._plans.clear()
                self._generation = generation
            return self._plans.get(service_name(name))

    def current(self, name: str) -> ServicePlan:
        """The version to serve, from memory unless the online store has changed since. Raises: NotReady where that lost a table."""
        name = service_name(name)
        held = self.held(name)
        if held is not None:
            return held
        generation = self._generation
        found = resolve_service(self._runtime, definitions.read_registry(self._runtime), name, online=True).plan
        # Known beforehand, so that a lookup with a plan that is held reads nothing but the online store.
        self._filling.check([use.table for use in found.uses if self._runtime.online.cursor(use.table) is None])
        with self._lock:
            if generation == self._generation:
                self._plans[name] = found
        return found


def resolve_service(runtime: Runtime, known: Registry, name: str, online: bool = False) -> Resolved:
    """The newest version of a service whose views are all materialized; the newest of all when there is none.

    With `online` they must be published too, if there is a version of which all are: a backfill ends in the table first.
    """
    versions = known.rows.get(("service", name))
    if not versions:
        raise NotFound("service", name, known.names("service"))
    newest = known.plan(versions[-1])
    loaded: dict[str, Table] = {}
    ready = (plan for applied in reversed(versions) if _ready(runtime, plan := known.plan(applied), loaded))
    plan = next(ready, newest)
    if online:
        plan = next((one for one in chain([plan], ready) if _published(runtime, one)), plan)
    if plan.version == newest.version:
        return Resolved(plan, loaded)
    return Resolved(plan, loaded, (f"service {name} version {newest.version} is not materialized yet; version {plan.version} was used",))


def _published(runtime: Runtime, plan: ServicePlan) -> bool:
    return all(runtime.online.cursor(table) is not None for table in {use.table for use in plan.uses})


def _ready(runtime: Runtime, plan: ServicePlan, loaded: dict[str, Table]) -> bool:
    """Whether all feature tables of a plan are filled; those that are not `loaded` yet are, until one is not."""
    for name in dict.fromkeys(use.table for use in plan.uses):
        if name not in loaded:
            loaded[name] = tables.load(runtime.catalog, runtime.features_table(name))
        if feature_table.state_of(loaded[name].properties).through is None:
            return False
    return True
