"""The setting `catalog_name`: names of three parts mean the same table as names of two wherever a table is named, and no others do."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog

from featurestore import FeatureStore, FeatureView, Grant, Mask, Settings, Source, TablePolicy
from featurestore.access.policies import find_policy, read_policies
from featurestore.access.privileges import Kind, Securable
from featurestore.compiler.catalog_prefix import without_catalog
from featurestore.errors import DefinitionError, FeatureStoreError, Forbidden, RequestError
from featurestore.lakehouse.catalog import open_catalog
from tests import shop, worlds

ORDERS = Source("lake_orders", table="lake.shop.orders", timestamp="ordered_at")
QUERY = Source("lake_query", sql='SELECT o.* FROM "lake".shop.orders o JOIN LAKE.shop.profiles USING (customer_id)', timestamp="ordered_at")
SPINE = shop.SPINE_SQL.replace("shop.orders", "lake.shop.orders")


def amounts(name: str, source: Source) -> FeatureView:
    """A view of what a source says of orders."""
    return FeatureView(name, entity=shop.customer, source=source, features={"amount": "amount"})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The shop in a catalog of another name."""
    return worlds.Template(tmp_path_factory.mktemp("lake"), shop.fill, catalog_name="lake", audit_log="on")


@pytest.fixture
def store(template: worlds.Template) -> Iterator[FeatureStore]:
    """That store, for one test."""
    with template.opened() as store:
        yield store


def test_names_of_three_parts_work_everywhere(store: FeatureStore) -> None:
    plan = store.apply([amounts("of_table", ORDERS), amounts("of_query", QUERY)])
    assert "lake" not in json.dumps([step.result.document["source"]["table"] for step in plan.steps if step.kind == "view"])
    local = Source("lake_query", sql="SELECT o.* FROM shop.orders o JOIN shop.profiles USING (customer_id)", timestamp="ordered_at")
    # The stored definition does not have the name, so that the catalog may be called something else later.
    again = store.plan(
        [amounts("of_table", Source("lake_orders", table="shop.orders", timestamp="ordered_at")), amounts("of_query", local)]
    )
    assert not again.changed
    assert {run.rows_appended for run in store.materialize(["of_table", "of_query"])} == {4}
    assert store.history("LAKE.shop.orders") == store.history("shop.orders")
    assert store.impact("lake.shop.orders") == store.impact("shop.orders")
    assert store.lineage("lake.shop.orders.amount").targets == store.lineage("shop.orders.amount").targets
    assert dict(store.tag("release", "lake.shop.orders").tables) == dict(store.tag("same", "shop.orders").tables)
    store.create_share("partners")
    assert [table.on for table in store.add_to_share("partners", 'TABLE "lake"."shop"."orders"').tables] == ["TABLE shop.orders"]
    him = store.as_principal("him")
    store.grant("READ", "SERVICE plain", "USER him")
    for spine in (SPINE, "iceberg:lake.shop.orders"):
        with pytest.raises(Forbidden, match=r"READ on TABLE shop\.orders"):
            him.point_in_time("plain", spine, "ordered_at")
    assert store.grant("READ", "TABLE lake.shop.orders", "USER him").on == "TABLE shop.orders"
    store.apply([Grant("USE", on="NAMESPACE lake.shop", to="USER him"), Grant("USE", on="CATALOG lake", to="USER him")])
    assert [grant.on for grant in store.grants(to="USER him")][2:] == ["NAMESPACE shop", "CATALOG lake"]
    for spine in (SPINE, "iceberg:lake.shop.orders", "iceberg:shop.orders"):
        assert him.point_in_time("plain", spine, "ordered_at").num_rows == 4
    assert "TABLE shop.orders" in {(entry.scope or {}).get("on") for entry in store.audit_log(action="grant")}


def test_another_catalog_is_an_error_that_names_the_field(store: FeatureStore) -> None:
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("on", lambda: store.grant("READ", "TABLE other.shop.orders", "USER him")),
        ("on", lambda: store.grant("READ", "NAMESPACE other.shop", "USER him")),
        ("on", lambda: store.grant("READ", "CATALOG featurestore", "USER him")),
        ("spine", lambda: store.point_in_time("plain", "iceberg:featurestore.shop.orders", "ordered_at")),
        ("spine", lambda: store.point_in_time("plain", SPINE.replace("lake", "other"), "ordered_at")),
        ("spine", lambda: store.point_in_time("plain", SPINE.replace("lake", "featurestore"), "ordered_at")),
        ("table", lambda: store.history("other.shop.orders")),
        ("table", lambda: store.impact("other.shop.orders")),
        ("tables", lambda: store.tag("release", ["other.shop.orders"])),
    ]
    for field, call in calls:
        with pytest.raises(RequestError, match="called lake") as caught:
            call()
        assert caught.value.details["field"] == field
    definitions: list[tuple[str, Any]] = [
        ("table", amounts("wrong", Source("s", table="featurestore.shop.orders", timestamp="ordered_at"))),
        ("sql", amounts("wrong", Source("s", sql="SELECT * FROM other.shop.orders", timestamp="ordered_at"))),
        ("sql", amounts("wrong", Source("s", sql="SELECT * FROM featurestore.shop.orders", timestamp="ordered_at"))),
        ("table", TablePolicy("other.shop.orders", masks={"amount": Mask("NULL")})),
        ("on", Grant("READ", on="TABLE other.shop.orders", to="USER him")),
    ]
    for field, definition in definitions:
        with pytest.raises(DefinitionError, match="called lake") as wrong:
            store.plan([definition])
        assert field in {problem.field for problem in wrong.value.problems}
    twice = [TablePolicy(name, masks={"amount": Mask(sql)}) for name, sql in (("shop.orders", "1"), ("lake.shop.orders", "2"))]
    with pytest.raises(DefinitionError, match="defined differently"):
        store.plan(twice)


def test_no_spelling_evades_a_policy(store: FeatureStore) -> None:
    masked = TablePolicy("customer_orders", masks={"spend_30d": Mask("NULL")})
    store.apply([TablePolicy('lake."shop".orders', masks={"amount": Mask("-1.0")}), masked])
    store.grant("READ", "CATALOG", "USER him")
    him = store.as_principal("him")
    for name in ("shop.orders", "lake.shop.orders", '"shop"."orders"', '"LAKE"."shop"."orders"'):
        sql = f"SELECT customer_id, ordered_at, amount AS basket FROM {name}"
        assert set(him.point_in_time("plain", sql, "ordered_at")["basket"].to_pylist()) == {-1.0}
    for name in ("SHOP.orders", "shop.Orders", "iceberg:shop.ORDERS"):
        with pytest.raises(FeatureStoreError):
            him.point_in_time("plain", name if ":" in name else f"SELECT * FROM {name}", "ordered_at")
    # As a catalog would find them that knows a table by its name in any case.
    policies = read_policies(store.backend.runtime)
    for name in ("SHOP.orders", "shop.Orders"):
        assert find_policy(policies, Securable(Kind.TABLE, name)) is not None
        assert not him._rights.policy_of_table(name).is_open
    assert not him._rights.policy_of_table("FEATURES.Customer_Orders_V1").is_open
    with pytest.raises(Forbidden, match="only administrators"):
        him.point_in_time("plain", "iceberg:REGISTRY.keys", "at")


def test_a_catalog_that_is_called_something_else_keeps_its_grants(store: FeatureStore) -> None:
    store.grant("READ", "CATALOG", "USER him")
    with FeatureStore(settings=store.settings.model_copy(update={"catalog_name": "other"})) as renamed:
        assert [grant.on for grant in renamed.grants()] == ["CATALOG other"]
        assert renamed.as_principal("him").entities()[0].name == "customer"
        with pytest.raises(Forbidden, match="USE on CATALOG other"):
            renamed.as_principal("her").entities()


def test_a_query_keeps_its_text() -> None:
    text = (
        'WITH lake AS (SELECT 1 AS x) /* lake.shop.orders, ü */ SELECT \'lake.a.b\', o.x FROM  LAKE . shop . orders  o, "lake"."a".b, lake'
    )
    local = "WITH lake AS (SELECT 1 AS x) /* lake.shop.orders, ü */ SELECT 'lake.a.b', o.x FROM  shop . orders  o, \"a\".b, lake"
    assert without_catalog(text, "lake") == local
    assert without_catalog("SELECT FROM lake.", "lake") == "SELECT FROM lake."


def test_settings() -> None:
    for wrong in ("", "a.b", "a b", '"lake"', "lake/x"):
        with pytest.raises(ValueError, match="catalog_name"):
            Settings(catalog_name=wrong)


def test_the_name_that_pyiceberg_uses_is_a_property(tmp_path: Any) -> None:
    other = Settings(home=tmp_path, catalog={"type": "sql", "uri": f"sqlite:///{tmp_path}/c.db", "name": "prod"}, catalog_name="lake")
    assert open_catalog(other).name == "prod"
    assert open_catalog(Settings(home=tmp_path, catalog_name="lake")).name == "featurestore"


@pytest.mark.slow
def test_other_engines_find_it_under_its_name(store: FeatureStore) -> None:
    token = store.create_key("admin", administrator=True).token
    with shop.serving(store) as url:
        catalog = RestCatalog("any", uri=f"{url}/iceberg", token=token, warehouse="lake")
        assert isinstance(catalog.load_table("shop.orders").scan().to_arrow(), pa.Table)
        with pytest.raises(Exception, match="called lake"):
            RestCatalog("any", uri=f"{url}/iceberg", token=token, warehouse="featurestore")
