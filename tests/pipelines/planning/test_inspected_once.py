"""A view is compiled against its source's columns once for a plan and its apply, and again when either has changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureStore, FeatureView, Source, agg
from featurestore.engine.session import Session
from featurestore.errors import DefinitionError
from featurestore.sources import bind, inspect_source
from tests.worlds import STAMP, load_source

VIEW = FeatureView(
    "counts",
    entity=Entity("customer", keys="customer_id"),
    source=Source("orders", table="shop.orders", timestamp="at"),
    every="1d",
    features={"total": agg.sum("price", over="7d")},
)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    load_source(store, "shop.orders", pa.table({"customer_id": pa.array([1], pa.int64()), "at": pa.array([0], STAMP), "price": [1.5]}))
    return store


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the views that are compiled, in order."""
    names: list[str] = []
    inspect_view = bind.inspect_view

    def noting(session: Session, bound: Any, raw: Any) -> bind.Inspected:
        names.append(bound.view.name)
        return inspect_view(session, bound, raw)

    monkeypatch.setattr(inspect_source, "inspect_view", noting)
    return names


def test_an_apply_compiles_no_view_that_its_plan_compiled(store: FeatureStore, inspected: list[str]) -> None:
    planned = store.plan([VIEW])
    applied = store.apply([VIEW])
    assert inspected == ["counts"]
    assert [step.result.columns for step in applied.steps] == [step.result.columns for step in planned.steps]
    store.plan([VIEW])
    assert inspected == ["counts"]


def test_another_definition_is_compiled(store: FeatureStore, inspected: list[str]) -> None:
    store.plan([VIEW])
    plan = store.plan([replace(VIEW, features={"total": agg.sum("price", over="7d"), "n": agg.count(over="1d")})])
    assert inspected == ["counts", "counts"]
    assert {"total_7d", "n_1d"} <= set(plan.steps[-1].result.columns)


def test_other_types_of_the_source_are_compiled(store: FeatureStore, inspected: list[str]) -> None:
    before = store.plan([VIEW]).steps[-1].result.columns["total_7d"]
    store.catalog.drop_table("shop.orders")
    load_source(store, "shop.orders", pa.table({"customer_id": pa.array([1], pa.int64()), "at": pa.array([0], STAMP), "price": [1]}))
    after = store.plan([VIEW]).steps[-1].result.columns["total_7d"]
    assert inspected == ["counts", "counts"]
    assert before == "DOUBLE" != after


def test_problems_are_looked_for_again(store: FeatureStore, inspected: list[str]) -> None:
    wrong = replace(VIEW, features={"total": agg.sum("customer_id || 'x'", over="7d")})
    for _ in range(2):
        with pytest.raises(DefinitionError, match="total"):
            store.plan([wrong])
    assert inspected == ["counts", "counts"]
