"""The graph of what is computed from what: names, sides, roles, versions, training sets and their spines."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import FeatureStore, FeatureView, Source
from featurestore.errors import NotFound
from tests.lineage_world import AT, customer, open_lineage_world
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with open_lineage_world(tmp_path_factory.mktemp("lineage")) as opened:
        opened.materialize(end="2026-01-10")
        sql = "SELECT customer_id, basket + 1 AS basket, at, label FROM shop.labels WHERE NOT label OR basket > 0"
        opened.training_set("churn", sql, timestamp="at", label="label", name="second")
        yield opened


def roles(store: FeatureStore, source: str, target: str) -> tuple[str, ...]:
    (edge,) = [edge for edge in store.lineage(source, "down").edges if (edge.source, edge.target) == (source, target)]
    return edge.roles


def test_a_feature_leads_up_to_source_columns(store: FeatureStore) -> None:
    lineage = store.lineage("spend.euros_14d", "up")
    assert lineage.targets == ("features.spend_v2.euros_14d",)
    assert dict(lineage.dependences()) == {
        "shop.orders": "indirect",
        "shop.orders.amount": "direct",
        "shop.orders.currency": "indirect",
        "shop.orders.customer_id": "indirect",
        "shop.orders.ordered_at": "indirect",
        "shop.rates": "indirect",
        "shop.rates.currency": "indirect",
        "shop.rates.rate": "direct",
        "shop.rates.valid": "indirect",
    }
    assert {edge.source: edge.roles for edge in lineage.edges}["shop.rates.currency"] == ("group", "join")


def test_a_derived_feature_leads_through_the_view_to_columns_and_the_request(store: FeatureStore) -> None:
    lineage = store.lineage("churn.ratio", "up")
    assert dict(lineage.dependences("feature")) == {"features.spend_v2.euros_14d": "direct"}
    assert dict(lineage.dependences("request field")) == {"services:/churn/2/basket": "direct"}
    assert lineage.dependences("column")["shop.rates.rate"] == "direct"
    assert dict(store.lineage("churn.b", "up").dependences()) == {"services:/churn/2/basket": "direct"}
    assert dict(store.lineage("churn.basket", "down").dependences()) == {
        "services:/churn/2/b": "direct",
        "services:/churn/2/ratio": "direct",
        **dict.fromkeys(training_sets(store, "second"), "direct"),
    }


def training_sets(store: FeatureStore, name: str) -> list[str]:
    return [built.id for built in store.training_sets() if built.name == name]


def test_counted_rows_are_not_lost(store: FeatureStore) -> None:
    up = store.lineage("spend.n_14d", "up")
    assert up.dependences("rows") == {"shop.orders": "direct", "shop.rates": "direct"}
    assert roles(store, "shop.orders", "features.spend_v2.n_14d") == ("rows", "value")


def test_a_column_leads_down_to_old_and_new_versions_and_to_training_sets(store: FeatureStore) -> None:
    down = store.lineage("shop.orders.amount", "down")
    assert {(node.id, node.current) for node in down.nodes if node.kind == "feature"} == {
        ("features.spend_v1.euros_7d", False),
        ("features.spend_v1.mean", False),
        ("features.spend_v2.euros_14d", True),
        ("features.spend_v2.mean", True),
        ("features.chained_v1.log_spend", True),
    }
    assert set(down.dependences("training set")) == {built.id for built in store.training_sets()}
    (first,) = training_sets(store, "first")
    (second,) = training_sets(store, "second")
    # The first was made from the old version of the service, the second from the new one.
    assert "features.spend_v1.euros_7d" in store.lineage(first, "up").dependences("feature")
    assert "features.spend_v1.euros_7d" not in store.lineage(second, "up").dependences("feature")


def test_a_view_on_a_feature_table_is_followed(store: FeatureStore) -> None:
    up = store.lineage("chained.log_spend", "up").dependences()
    assert (up["features.spend_v1.euros_7d"], up["features.spend_v1.n_7d"]) == ("direct", "indirect")
    assert (up["shop.orders.amount"], up["shop.rates.valid"]) == ("direct", "indirect")
    assert store.lineage("shop.rates.valid", "down").dependences()["features.chained_v1.one"] == "indirect"


def test_spines_are_sources_of_training_sets(store: FeatureStore) -> None:
    (first,), (second,) = training_sets(store, "first"), training_sets(store, "second")
    assert roles(store, "shop.labels.label", first) == ("spine",)
    assert roles(store, "shop.labels.label", second) == ("filter", "spine")
    assert roles(store, "shop.labels.basket", second) == ("filter", "spine")
    assert store.lineage("shop.labels.label").dependences("training set") == {first: "direct", second: "direct"}


def test_names(store: FeatureStore) -> None:
    of_file = store.lineage("profiles.parquet.age")
    assert "features.profile_v1.age" in of_file.dependences("feature")
    for same in ("spend_v1.euros_7d", "features.spend_v1.euros_7d", "spend_v1.EUROS_7D"):
        assert store.lineage(same).targets == ("features.spend_v1.euros_7d",)
    assert store.lineage("services:/churn/1/ratio").targets == ("services:/churn/1/ratio",)
    whole = store.lineage("chained")
    assert set(whole.targets) > {"features.chained_v1.log_spend", "features.chained_v1.one"}
    assert store.lineage("churn", "up").dependences("feature").keys() == {
        "features.profile_v1.age",
        "features.spend_v2.euros_14d",
        "features.spend_v2.mean",
        "features.spend_v2.n_14d",
    }
    for node in store.lineage("shop.orders").nodes:
        assert node.id in store.lineage(node.id).targets


def test_what_nothing_reads_stands_alone(store: FeatureStore) -> None:
    for name in ("shop.alone.x", "shop.orders.unread"):
        lineage = store.lineage(name)
        assert ([node.id for node in lineage.nodes], lineage.edges) == ([name], ())


def test_unknown_names_are_answered_with_the_nearest(store: FeatureStore) -> None:
    for name, message in {
        "spend.eurs_14d": r"no column 'eurs_14d' in features.spend_v2; did you mean 'euros_14d'",
        "shop.orders.amonut": r"no column 'amonut' in shop.orders; did you mean 'amount'",
        "spnd.euros_14d": r"no column, feature, training set or model of the name 'spnd.euros_14d'; did you mean 'spend.euros_14d'",
        "models:/churn@champion": r"no model 'models:/churn@champion'",
        "models:/nothing": r"no model",
        "..": r"no column, feature, training set or model of the name '\.\.'",
        "'; DROP TABLE x; --": r"no column, feature, training set or model of the name",
    }.items():
        with pytest.raises(NotFound, match=message):
            store.lineage(name)


def test_columns_that_are_not_known_depend_on_each_that_is_named(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path) as own:
        load_source(own, "shop.gone", pa.table({"customer_id": [1], "x": [1], "y": [2], "at": pa.array([AT], STAMP)}))
        distinct = Source("gone", sql="SELECT DISTINCT * FROM shop.gone", timestamp="at")
        own.apply([FeatureView("v", entity=customer, source=distinct, features=["x", "y"])])
        own.catalog.drop_table("shop.gone")
        down = own.lineage("shop.gone.x", "down")
        assert down.dependences("feature") == {"features.v_v1.x": "direct", "features.v_v1.y": "indirect"}
        assert down.dependences("column")["shop.gone.*"] == "direct"
