"""A training set loads each table once, and once more for a commit to it."""

from collections import Counter
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from featurestore import FeatureStore
from tests import shop

FEATURES = ("features.customer_orders_v1", "features.customer_profile_v1")
HOME = "training_sets.churn"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each table was loaded."""
    counted: Counter[str] = Counter()
    load = SqlCatalog.load_table

    def counting(self: SqlCatalog, identifier: Any) -> Any:
        counted[identifier if isinstance(identifier, str) else ".".join(identifier)] += 1
        return load(self, identifier)

    monkeypatch.setattr(SqlCatalog, "load_table", counting)
    return counted


def test_a_training_set_loads_each_table_once(own_shop: FeatureStore, loads: Counter[str]) -> None:
    own_shop.training_set("churn", shop.spine(), "asked_at")
    loads.clear()
    own_shop.training_set("churn", shop.spine().slice(1), "asked_at")
    # A commit is carried out on the state that the catalog has then: the tags of what is pinned, and the rows.
    assert loads == {**dict.fromkeys(FEATURES, 2), HOME: 2, "registry.definitions": 1, "registry.statistics": 2}
    loads.clear()
    # The same again is found, and nothing is committed.
    own_shop.training_set("churn", shop.spine().slice(1), "asked_at")
    assert loads == {**dict.fromkeys(FEATURES, 1), HOME: 1, "registry.definitions": 1}
