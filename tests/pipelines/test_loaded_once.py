"""Each method loads every table, opens every session and parses every SQL text once."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import ManifestGroupPlanner
from sqlglot.parser import Parser

from featurestore import FeatureStore, FeatureView, Settings, Source, agg, check
from featurestore.compiler import expressions
from featurestore.lakehouse import tables
from featurestore.sources import inspect_source
from tests import shop

PARSING = [made for made in vars(expressions).values() if hasattr(made, "cache_clear")]
REGISTRY, ORDERS, PROFILES = "registry.definitions", "shop.orders", "shop.profiles"
EDITIONS = "registry.editions"
"""Looked for, since what is published alone is recorded only if it was once published with others."""
LEASES = "registry.leases"
"""Looked for, created and loaded once for each of two commits, which take the lease of a run and release it."""
POLICIES = "registry.policies"
"""Looked for, since those in force on a view must be sound with its next version."""
OF_ORDERS, OF_PROFILES = "features.customer_orders_v1", "features.customer_profile_v1"
NEW = [OF_ORDERS, OF_PROFILES]


class Fetched:
    """What was fetched since the last look: loads by table, parses by text, and how many databases were opened."""

    def __init__(self) -> None:
        self.loads: Counter[str] = Counter()
        self.parses: Counter[str] = Counter()
        self.databases = 0

    def forget(self) -> None:
        """Reset the counts."""
        self.__init__()  # type: ignore[misc]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Fetched:
    """What is fetched from now on; the parser has seen nothing."""
    for parsing in PARSING:
        parsing.cache_clear()
    found, load, connect, parse = Fetched(), SqlCatalog.load_table, duckdb.connect, Parser.parse

    def loading(self: SqlCatalog, identifier: Any) -> Any:
        found.loads[identifier if isinstance(identifier, str) else ".".join(identifier)] += 1
        return load(self, identifier)

    def connecting(*args: Any, **named: Any) -> Any:
        found.databases += 1
        return connect(*args, **named)

    def parsing_(self: Parser, tokens: Any, sql: str = "") -> Any:
        found.parses[sql] += 1
        return parse(self, tokens, sql)

    monkeypatch.setattr(SqlCatalog, "load_table", loading)
    monkeypatch.setattr(duckdb, "connect", connecting)
    monkeypatch.setattr(Parser, "parse", parsing_)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """A store with the shop's source tables, in which nothing was applied."""
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as opened:
        shop.add(opened, ORDERS, shop.order_rows())
        shop.add(opened, PROFILES, shop.profile_rows())
        yield opened


def test_a_plan_loads_each_table_and_parses_each_text_once(store: FeatureStore, fetched: Fetched) -> None:
    fetched.forget()
    plan = store.plan(shop.DEFINITIONS)
    assert fetched.loads == {REGISTRY: 1, POLICIES: 1, ORDERS: 1, PROFILES: 1}
    assert set(fetched.parses.values()) == {1}
    assert len(fetched.parses) > len(shop.customer_profile.features), "each feature has a text"
    store.apply(plan)
    fetched.forget()
    again = store.plan(shop.DEFINITIONS)
    assert not again.changed
    assert fetched.loads == dict.fromkeys([REGISTRY, POLICIES, ORDERS, PROFILES, OF_ORDERS, OF_PROFILES], 1)


def test_a_plan_reads_the_columns_of_each_source_once(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a query, whose columns take sessions of their own."""
    read: Counter[str] = Counter()
    add_columns = inspect_source.add_columns

    def reading(runtime: Any, session: Any, source: Any) -> Any:
        read[source.source.name] += 1
        return add_columns(runtime, session, source)

    monkeypatch.setattr(inspect_source, "add_columns", reading)
    query = Source("query", sql="SELECT * FROM shop.orders", timestamp="ordered_at")
    views = [
        FeatureView(f"{source.name}_{number}", entity=shop.customer, source=source, features=["amount"])
        for source in (shop.orders, query)
        for number in range(3)
    ]
    plan = store.plan([*views, shop.customer_profile])
    assert [step.action for step in plan.steps if step.kind == "view"] == ["create"] * 7
    assert read == {"orders": 1, "query": 1, "profiles": 1}


def test_a_plan_is_applied_as_it_is(store: FeatureStore, fetched: Fetched) -> None:
    plan = store.plan(shop.DEFINITIONS)
    fetched.forget()
    store.apply(plan)
    # The catalog is asked for a table, which is made then, and shown; the registry's is loaded once more by the commit to it.
    assert fetched.loads == {**dict.fromkeys(NEW, 2), REGISTRY: 3}
    assert not fetched.parses
    more = store.plan([*shop.DEFINITIONS, FeatureView("more", entity=shop.customer, source=shop.orders, features=["amount"])])
    fetched.forget()
    store.apply(more)
    assert fetched.loads == {"features.more_v1": 2, REGISTRY: 2}


def test_a_materialization_loads_each_table_once_and_once_more_to_commit(store: FeatureStore, fetched: Fetched) -> None:
    store.apply(shop.DEFINITIONS)
    fetched.forget()
    (done,) = store.materialize("customer_profile")
    assert (done.rows_appended, done.published) == (2, 2)
    # And once when the table is first published to an online store, which is recorded in it.
    assert fetched.loads == {REGISTRY: 1, PROFILES: 1, OF_PROFILES: 3, EDITIONS: 1, LEASES: 4}
    assert fetched.databases == 1
    fetched.forget()
    (done,) = store.materialize("customer_profile", end=shop.NOW)
    assert (done.rows_appended, done.published) == (0, 0)
    # Nothing was committed: what others have done to the feature table since the run began is to be published.
    assert fetched.loads == {REGISTRY: 1, PROFILES: 1, OF_PROFILES: 2}
    assert fetched.databases == 0


@pytest.mark.parametrize("every", ["1d", "1h"])
def test_a_materialization_of_windows_opens_one_session(store: FeatureStore, fetched: Fetched, every: str) -> None:
    """By the day, and by the hour with a feature that reads the events again; then the time since, which is computed point by point."""
    features = {"n": agg.count(over="7d")} | ({"median": agg.percentile("amount", q=0.5, over="7d")} if every == "1h" else {})
    store.apply([FeatureView("windows", entity=shop.customer, source=shop.orders, every=every, features=features)])
    for start, end in ((None, shop.NOW - timedelta(days=2)), (None, shop.NOW)):
        fetched.forget()
        (done,) = store.materialize("windows", start=start, end=end)
        assert done.rows_appended > 0
        assert fetched.loads[ORDERS] == 1
        assert fetched.databases == 1


def test_a_check_of_freshness_reads_in_the_session_of_the_run(store: FeatureStore, fetched: Fetched) -> None:
    view = FeatureView("fresh", entity=shop.customer, source=shop.orders, features=["amount"], checks=[check.fresh(within="7d")])
    store.apply([view])
    fetched.forget()
    (done,) = store.materialize("fresh")
    assert [outcome.passed for outcome in done.checks] == [True]
    assert fetched.loads == {REGISTRY: 1, POLICIES: 1, ORDERS: 1, "features.fresh_v1": 3, EDITIONS: 1, LEASES: 4}
    assert fetched.databases == 1


def test_a_run_plans_its_source_and_its_table_once(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With late rows, of which the changes are another plan; what was appended is published without one."""
    store.apply([shop.customer_orders])
    store.materialize(end=shop.NOW - timedelta(days=10))
    planned: Counter[str] = Counter()
    plan_files = ManifestGroupPlanner.plan_files

    def planning(self: ManifestGroupPlanner, manifests: Any, *arguments: Any, **named: Any) -> Any:
        planned["/".join(self.table_metadata.location.split("/")[-2:])] += 1
        return plan_files(self, manifests, *arguments, **named)

    monkeypatch.setattr(ManifestGroupPlanner, "plan_files", planning)
    (done,) = store.materialize(end=shop.NOW - timedelta(days=3))
    assert done.rows_appended > 0
    source, table = "shop/orders", "features/customer_orders_v1"
    assert planned == {source: 1, table: 1, REGISTRY.replace(".", "/"): 1}
    store.catalog.load_table(ORDERS).append(shop.order_rows().slice(1, 1))
    planned.clear()
    (done,) = store.materialize()
    assert done.corrections > 0
    assert (planned[source], planned[table]) == (2, 1), "what was added to the source, and the rows that are computed again"


def test_one_load_more_is_seen(store: FeatureStore, fetched: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other tests assert can fail: a table that is loaded twice is counted twice."""
    store.apply(shop.DEFINITIONS)
    load = tables.load

    def twice(catalog: Any, identifier: str) -> Any:
        load(catalog, identifier)
        return load(catalog, identifier)

    monkeypatch.setattr(tables, "load", twice)
    fetched.forget()
    store.materialize("customer_profile")
    assert fetched.loads == {REGISTRY: 1, PROFILES: 2, OF_PROFILES: 4, EDITIONS: 1, LEASES: 4}
