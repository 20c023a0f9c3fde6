"""The demo: nothing is appended twice, every row is correct, and the AUC of the naive join is too good to be true."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from featurestore import FeatureStore
from featurestore.demo import main, story
from featurestore.demo.narrator import Narrator
from tests import flights_by_hand as by_hand
from tests.flights_by_hand import Asked


@pytest.mark.slow
def test_the_naive_join_promises_what_the_point_in_time_join_does_not_need_to(tmp_path: Path) -> None:
    output = io.StringIO()
    narrator, results = Narrator(Console(file=output, width=100)), story.Results()
    with FeatureStore(home=tmp_path) as store:
        story.fill_lake(store, narrator, results)
        story.define(store, main.definitions(), narrator)
        story.materialize(store, narrator, results)
        training = story.build_training_set(store, narrator, results)
        story.learn(store, training, narrator, results)
        check(store, training.to_arrow())
    assert results.values["raw"]["raw.flights"]["rows"] == 336_776
    assert all(view["rows"] > 0 for view in results.values["materialized"].values())
    assert results.values["appended_again"] == 0
    assert results.values["training_set"]["rows"] == 327_346
    assert 0.72 < results.values["auc"]["point_in_time"] < 0.80
    assert results.values["auc"]["naive_promised"] > 0.95
    assert results.values["auc"]["naive_delivered"] < results.values["auc"]["point_in_time"] - 0.05
    assert "the naive join promises" in output.getvalue()


def check(store: FeatureStore, found: pa.Table) -> None:
    """Check every row and feature of the year against a computation without the store."""
    flights = store.catalog.load_table("raw.flights").scan().to_arrow().to_pandas()
    by_hand.same(found, by_hand.demo(Asked(flights, found.to_pandas())))
