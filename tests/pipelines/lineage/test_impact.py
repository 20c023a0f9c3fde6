"""What depends on a table: through queries, other feature tables, older versions and training sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore, FeatureView, Source
from featurestore.errors import NotFound
from featurestore.pipelines.lineage.impact_result import Impact
from tests.lineage_world import AT, customer, open_lineage_world
from tests.worlds import STAMP, load_source


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with open_lineage_world(tmp_path_factory.mktemp("impact")) as opened:
        yield opened


def features(found: Impact) -> dict[str, dict[str, Any]]:
    return {f"{view.view} v{view.version}": dict(view.features) for view in found.views}


def test_a_column_leads_to_the_features_computed_from_it(store: FeatureStore) -> None:
    report = store.impact("shop.orders", "amount")
    assert features(report) == {
        "chained v1": {"log_spend": "direct"},
        "spend v1": {"euros_7d": "direct", "mean": "direct"},
        "spend v2": {"euros_14d": "direct", "mean": "direct"},
    }
    assert [(view.view, view.version, view.current, view.roles) for view in report.views if view.view == "spend"] == [
        ("spend", 1, False, ("value",)),
        ("spend", 2, True, ("value",)),
    ]
    assert {(affected.version, affected.current): dict(affected.features) for affected in report.services} == {
        (1, False): {"euros_7d": "direct", "mean": "direct", "ratio": "direct"},
        (2, True): {"euros_14d": "direct", "mean": "direct", "ratio": "direct"},
    }
    (training_set,) = report.training_sets
    assert dict(training_set.features) == {"euros_7d": "direct", "mean": "direct", "ratio": "direct"}
    assert not training_set.spine


def test_a_condition_a_join_and_a_time_are_indirect(store: FeatureStore) -> None:
    for table, column, role in (
        ("shop.rates", "valid", "filter"),
        ("shop.rates", "currency", "join"),
        ("shop.orders", "ordered_at", "timestamp"),
    ):
        report = store.impact(table, column)
        assert set(features(report)["spend v1"].values()) == {"indirect"}
        assert role in next(view.roles for view in report.views if view.view == "spend")
        # The rows of the feature table depend on it, so what counts or filters them does too.
        assert set(features(report)["chained v1"].values()) == {"indirect"}


def test_a_filter_over_a_feature_reaches_the_next_view(store: FeatureStore) -> None:
    report = store.impact("features.spend_v1", "n_7d")
    assert features(report)["chained v1"] == {"log_spend": "indirect", "one": "indirect"}
    assert features(report)["spend v1"] == {"n_7d": "direct"}
    assert store.impact("spend_v1", "n_7d") == report


def test_a_column_that_nothing_reads(store: FeatureStore) -> None:
    for table, column in (("shop.orders", "unread"), ("shop.orders", "note"), ("shop.alone", None)):
        report = store.impact(table, column)
        assert (report.views, report.services, report.training_sets, report.models) == ((), (), (), ())


def test_a_whole_table_counts_its_rows(store: FeatureStore) -> None:
    assert features(store.impact("shop.orders"))["spend v1"] == {"euros_7d": "direct", "n_7d": "direct", "mean": "direct"}


def test_files_are_named_by_their_path(store: FeatureStore) -> None:
    assert features(store.impact("profiles.parquet", "age")) == {"profile v1": {"age": "direct"}}


def test_unknown_names_are_answered_with_the_nearest(store: FeatureStore) -> None:
    with pytest.raises(NotFound, match=r"no table 'shop.ordres'; did you mean 'shop.orders'"):
        store.impact("shop.ordres")
    with pytest.raises(NotFound, match=r"no column 'amonut' in shop.orders; did you mean 'amount'"):
        store.impact("shop.orders", "amonut")
    with pytest.raises(NotFound, match=r"no column 'euros_8d' in features.spend_v1; did you mean 'euros_7d'"):
        store.impact("features.spend_v1", "euros_8d")


def test_a_table_that_was_dropped_keeps_its_dependents(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path) as own:
        load_source(own, "shop.gone", pa.table({"customer_id": [1], "x": [1], "at": pa.array([AT], STAMP)}))
        source = Source("gone", sql="SELECT *, x * 2 AS y FROM shop.gone", timestamp="at")
        own.apply([FeatureView("v", entity=customer, source=source, features=["x", "y"])])
        own.catalog.drop_table("shop.gone")
        assert features(own.impact("shop.gone", "x")) == {"v v1": {"x": "direct", "y": "direct"}}
