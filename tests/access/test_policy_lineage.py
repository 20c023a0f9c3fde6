"""Policies follow lineage: what is computed from what is hidden is hidden too, or declared open."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, Expression, FeatureStore, FeatureView, Mask, RowFilter, Source, TablePolicy, agg
from featurestore.compiler.features import feature_names
from featurestore.errors import DefinitionError
from featurestore.values import times
from tests.worlds import STAMP, load_source

CUSTOMER = Entity("customer", keys="customer_id")
CUSTOMERS = Source("customers", table="shop.customers", timestamp="at")
ORDERS = Source("orders", table="shop.orders", timestamp="at")
MASKED = TablePolicy("shop.customers", masks={"email": Mask("NULL", unless=["pii"])})
FILTERED = TablePolicy("shop.customers", rows=RowFilter("country = 'DE'", unless=["world"]))
NULL = Mask("NULL", unless=["pii"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with two tables. Nothing is applied in it but a view of plain columns."""
    with FeatureStore(home=tmp_path_factory.mktemp("home")) as store:
        at = pa.array([times.moment(times.parse("2026-03-01T00:00:00Z", "at"))], STAMP)
        load_source(store, "shop.customers", pa.table({"customer_id": [1], "at": at, "email": ["a@x"], "country": ["DE"], "age": [30]}))
        load_source(store, "shop.orders", pa.table({"customer_id": [1], "at": at, "amount": [1.0], "email": ["a@x"]}))
        yield store


def view(features: Any, source: Source = CUSTOMERS, name: str = "profile", **more: Any) -> FeatureView:
    return FeatureView(name, CUSTOMER, source, features=features, **more)


def of_sql(sql: str) -> Source:
    return Source("query", sql=sql, timestamp="at")


def problems_of(store: FeatureStore, *definitions: Any) -> list[str]:
    try:
        store.plan(list(definitions))
    except DefinitionError as error:
        return [f"{problem.field}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "of",
    [
        view({"domain": "split_part(email, '@', 2)"}),
        view({"domain": "age"}, Source("customers", table="shop.customers", timestamp="at", columns={"age": "length(email)"})),
        view({"domain": "age"}, Source("customers", table="shop.customers", timestamp="at", where="email LIKE 'a%'")),
        view({"domain": "age"}, of_sql("SELECT * FROM shop.customers WHERE email IS NOT NULL")),
        view({"domain": "amount"}, of_sql("SELECT o.* FROM shop.orders o JOIN shop.customers c ON o.email = c.email")),
        view({"domain": "n"}, of_sql("SELECT customer_id, max(at) AS at, count(*) AS n FROM shop.customers GROUP BY customer_id, email")),
        view({"domain": "email"}, of_sql("SELECT * FROM (SELECT * FROM shop.customers)")),
        view({"domain": agg.count(over="1d", where="email LIKE 'a%'")}, every="1d"),
        view({"domain": agg.last("email", over="1d")}, every="1d"),
    ],
    ids=["value", "columns", "where", "sql where", "join", "group", "star", "aggregate where", "aggregate"],
)
def test_what_is_computed_from_a_masked_column_needs_a_mask(store: FeatureStore, of: FeatureView) -> None:
    assert problems_of(store, of) == []
    name = feature_names(of)[0]
    (problem,) = [problem for problem in problems_of(store, of, MASKED) if f"profile.{name}" in problem]
    assert problem.startswith(f"features.{name}: v1 shows what a policy hides: shop.customers.email -> profile.{name}; give it a mask")
    for more in ({"masks": {name: NULL}}, {"declassify": [name]}, {"masks": {name: Mask("NULL")}}):
        solved = FeatureView(of.name, of.entity, of.source, of.features, every=of.every, **more)
        assert problems_of(store, solved, MASKED) == [], more
    wider = FeatureView(of.name, of.entity, of.source, of.features, every=of.every, masks={name: Mask("NULL", unless=["sales"])})
    assert "its mask exempts sales, who may not see what it is computed from" in problems_of(store, wider, MASKED)[0]


@pytest.mark.parametrize("table", ["training_sets.mine", "featurestore.training_sets.mine", "inference.churn"])
def test_tables_of_joined_rows_may_have_anything(store: FeatureStore, table: str) -> None:
    if not store.catalog.table_exists(table.removeprefix("featurestore.")):
        rows = store.catalog.load_table("shop.orders").scan().to_arrow()
        load_source(store, table.removeprefix("featurestore."), rows)
    for source in (Source("made", table=table, timestamp="at"), of_sql(f"SELECT * FROM {table}")):
        of = view(["amount"], source)
        assert problems_of(store, of) == []
        found = problems_of(store, of, MASKED)
        assert any(problem.startswith("features.amount: v1 shows what a policy hides") for problem in found), found
        assert any("rows of" in problem for problem in problems_of(store, of, FILTERED))
        open_one: dict[str, Any] = {"declassify": ["amount", "customer_id"], "declassify_rows": True}
        for policy in (MASKED, FILTERED):
            assert problems_of(store, view(["amount"], source, **open_one), policy) == []


def test_what_does_not_use_it_is_open(store: FeatureStore) -> None:
    assert problems_of(store, view(["age"]), MASKED) == []
    counted = of_sql("SELECT customer_id, max(at) AS at, count(*) AS n FROM shop.customers GROUP BY customer_id")
    assert problems_of(store, view(["n"], counted), MASKED) == []
    # The other table's column of that name has no policy.
    assert problems_of(store, view(["email"], ORDERS), MASKED) == []


def test_expressions_and_keys(store: FeatureStore) -> None:
    found = problems_of(store, view({"n": agg.count_distinct("email", over="1d"), "twice": Expression("n_1d * 2")}, every="1d"), MASKED)
    assert any("profile.twice" in problem for problem in found)
    keyed = FeatureView("by_email", Entity("address", keys="email"), CUSTOMERS, features=["age"], declassify=["age"])
    assert [problem for problem in problems_of(store, keyed, MASKED) if "the key email" in problem]
    assert problems_of(store, FeatureView("by_email", keyed.entity, CUSTOMERS, ["age"], declassify=["age", "email"]), MASKED) == []


def test_views_over_filtered_rows_filter_or_declare(store: FeatureStore) -> None:
    (problem,) = problems_of(store, view(["age"]), FILTERED)
    assert "rows of shop.customers -> rows of profile; filter its rows: rows=RowFilter(...), or declare them open" in problem
    same = RowFilter("age > 18", unless=["world"])
    assert problems_of(store, view(["age"], rows=same), FILTERED) == []
    assert problems_of(store, view(["age"], declassify_rows=True), FILTERED) == []
    wider = view(["age"], rows=RowFilter("age > 18", unless=["sales"]))
    assert "its filter exempts sales" in problems_of(store, wider, FILTERED)[0]


def test_a_policy_that_comes_later_names_the_features_of_all_versions(store: FeatureStore) -> None:
    store.apply([view({"domain": "split_part(email, '@', 2)", "age": "age"}, name="late")])
    store.apply([view({"years": "age"}, name="late")])
    over = Source("over", table="features.late_v1", timestamp="feature_timestamp")
    store.apply([view({"domain": "domain", "upper": "upper(domain)"}, over, "over")])
    found = problems_of(store, MASKED)
    assert "features.domain: v1 shows what a policy hides: shop.customers.email -> late.domain" in found[0]
    assert any("shop.customers.email -> late.domain -> over.upper" in problem for problem in found), found
    # A mask of a feature of an earlier version is declared with the view as it is.
    late = view({"years": "age"}, name="late", masks={"domain": NULL})
    still = problems_of(store, MASKED, late)
    assert len(still) == 2
    assert all("late.domain -> over." in problem for problem in still)
    opened = view({"domain": "domain", "upper": "upper(domain)"}, over, "over", declassify=["upper"], masks={"domain": NULL})
    store.apply([MASKED, late, opened])
    assert [info.column for info in store.policies() if info.rule == "declassify"] == ["upper"]
    assert all(info.applied_by for info in store.policies())
    # What is in force holds for what comes next.
    assert "shop.customers.email -> next.email" in problems_of(store, view(["email"], name="next"))[0]
    store.apply([TablePolicy("shop.customers")])
    assert problems_of(store, view(["email"], name="next")) == []
