"""Comparing two training sets finds every difference, and nothing else."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import NotFound, RequestError
from featurestore.pipelines.training_sets import drift
from tests.worlds import STAMP, load_source

DAY = timedelta(days=1)
T = datetime(2026, 3, 1, tzinfo=UTC)


def events(days: list[int], prices: list[float]) -> pa.Table:
    stamps = pa.array([T + DAY * day for day in days], STAMP)
    grades = [None if day % 3 == 0 else "ab"[day % 2] for day in days]
    return pa.table(
        {"id": pa.array([day % 2 for day in days], pa.int64()), "at": stamps, "price": prices, "grade": pa.array(grades, pa.string())}
    )


def service(factor: str = "") -> FeatureService:
    source = Source("orders", table="shop.orders", timestamp="at")
    entity = Entity("customer", keys="id")
    spend = FeatureView("spend", entity=entity, source=source, every="1d", features={"spend": agg.sum(f"price{factor}", over="7d")})
    last = FeatureView("last", entity=entity, source=source, features=["grade", "price"])
    return FeatureService("churn", features=[spend, last], derived={"twice": "spend_7d * 2"})


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path)
    load_source(store, "shop.orders", events([0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0]))
    store.apply([service()])
    store.materialize(end=T + 10 * DAY)
    return store


def spine(*days: int) -> list[dict[str, Any]]:
    return [{"id": day % 2, "t": T + DAY * day + timedelta(hours=5)} for day in days]


@pytest.mark.slow
def test_a_training_set_is_like_itself(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(0, 1, 2, 2, 3), "t")
    comparison = store.compare(made.id, made.id)
    assert comparison["definitions"] == []
    assert comparison["rows"] == {"a": 5, "b": 5, "common": 5, "added": 0, "gone": 0}
    assert comparison["features"]["added"] == comparison["features"]["gone"] == []
    same = {"changed": 0, "share": 0.0, "psi": 0.0, "js": 0.0, "because": []}
    assert comparison["features"]["common"] == dict.fromkeys(["spend_7d", "grade", "price", "twice"], same)


@pytest.mark.slow
def test_rows_corrections_and_definitions(store: FeatureStore) -> None:
    first = store.training_set("churn", spine(0, 1, 2, 2, 3), "t")
    store.catalog.load_table("shop.orders").append(events([0], [100.0]))
    assert sum(run.corrections for run in store.materialize(end=T + 10 * DAY)) > 0
    second = store.training_set("churn", spine(1, 2, 2, 2, 3, 4), "t")
    comparison = store.compare(first.id, second.id)
    assert comparison["rows"] == {"a": 5, "b": 6, "common": 4, "added": 2, "gone": 1}
    spend = comparison["features"]["common"]["spend_7d"]
    assert (spend["changed"], spend["share"]) == (2, 0.5)
    assert spend["psi"] > 0
    assert 0 < spend["js"] <= 1
    assert [said.partition(" ")[0] for said in spend["because"]] == ["source", "corrections"]
    assert comparison["features"]["common"]["twice"]["because"] == spend["because"]
    assert comparison["features"]["common"]["grade"]["because"] == []
    store.apply([service(" * 10")])
    store.materialize(end=T + 10 * DAY)
    third = store.training_set("churn", spine(1, 2, 2, 2, 3, 4), "t")
    comparison = store.compare(second.id, third.id)
    (changed,) = comparison["definitions"]
    assert (changed["view"], changed["from"], changed["to"]) == ("spend", 1, 2)
    assert "* 10" in changed["diff"]
    assert comparison["features"]["common"]["spend_7d"]["because"] == ["definition: spend_v1 became spend_v2"]
    assert comparison["features"]["common"]["price"]["changed"] == 0


@pytest.mark.slow
def test_what_cannot_be_compared_is_named(store: FeatureStore) -> None:
    made = store.training_set("churn", spine(0), "t")
    with pytest.raises(NotFound, match=made.id):
        store.compare(made.id, made.id[:-1])
    load_source(store, "shop.sales", events([0, 1], [1.0, 2.0]).rename_columns(["seller", "at", "price", "grade"]))
    sales = Source("sales", table="shop.sales", timestamp="at")
    view = FeatureView("other", entity=Entity("seller", keys="seller"), source=sales, features=["price"])
    store.apply([FeatureService("other", features=[view])])
    store.materialize("other", end=T + 10 * DAY)
    other = store.training_set("other", [{"seller": 1, "t": T + DAY}], "t")
    with pytest.raises(RequestError, match=r"different keys: .* has id, .* has seller"):
        store.compare(made.id, other.id)


def test_divergences_have_their_known_values() -> None:
    assert drift.psi({"a": 50, "b": 50}, {"a": 90, "b": 10}) == pytest.approx(0.4 * math.log(1.8) - 0.4 * math.log(0.2))
    assert drift.jensen_shannon({"a": 3}, {"b": 5}) == pytest.approx(1.0)
    assert drift.jensen_shannon({"a": 1, "b": 1}, {"a": 4, "b": 4}) == 0.0
    assert drift.psi({}, {"a": 1}) is None
    assert drift.jensen_shannon({"a": 1}, {}) is None
