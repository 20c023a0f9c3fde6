"""Names of tables with the name of the catalog in front."""

from featurestore import FeatureStore
from featurestore.compiler.expressions import parse_query, query_tables
from featurestore.values.table_names import CATALOG, local_name
from tests import shop


def test_names() -> None:
    for name, local in (
        (f"{CATALOG}.shop.orders", "shop.orders"),
        ("shop.orders", "shop.orders"),
        (f"{CATALOG}.orders", f"{CATALOG}.orders"),
        ("other.shop.orders", "other.shop.orders"),
        (f"{CATALOG}.a.b.c", "a.b.c"),
        ("orders", "orders"),
        (f"{CATALOG.upper()}.shop.orders", "shop.orders"),
        ('"shop"."orders"', "shop.orders"),
        (f"`{CATALOG}`.shop.`orders`", "shop.orders"),
    ):
        assert local_name(name) == local
    assert query_tables(parse_query(f"SELECT * FROM {CATALOG}.shop.a JOIN shop.b USING (x)")) == ("shop.a", "shop.b")


def test_a_store_reads_them_as_what_they_are(own_shop: FeatureStore) -> None:
    shop.add(own_shop, "shop.spine", shop.spine())

    def join(spine: str) -> object:
        return own_shop.point_in_time("churn", spine, "asked_at").select(["customer_id", "basket", "spend_30d"]).to_pylist()

    plain = join("SELECT * FROM shop.spine ORDER BY basket")
    assert join(f"SELECT * FROM {CATALOG}.shop.spine ORDER BY basket") == plain
    assert join(f"SELECT spine.* FROM {CATALOG}.shop.spine ORDER BY spine.basket") == plain
    assert join(f"iceberg:{CATALOG}.shop.spine") == join("iceberg:shop.spine")
    assert own_shop.history(f"{CATALOG}.shop.spine") == own_shop.history("shop.spine")
    assert own_shop.impact(f"{CATALOG}.shop.orders") == own_shop.impact("shop.orders")
