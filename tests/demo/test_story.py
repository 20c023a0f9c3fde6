"""What the demo promises: nothing is appended twice, every row is right, and the naive join's AUC is too good to be true."""

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
    narrator, facts = Narrator(Console(file=output, width=100)), story.Facts()
    with FeatureStore(home=tmp_path) as store:
        story.fill_lake(store, narrator, facts)
        story.define(store, main.definitions(), narrator)
        story.materialize(store, narrator, facts)
        training = story.build_training_set(store, narrator, facts)
        story.learn(store, training, narrator, facts)
        check(store, training.to_arrow())
    assert facts.found["raw"]["raw.flights"]["rows"] == 336_776
    assert all(view["rows"] > 0 for view in facts.found["materialized"].values())
    assert facts.found["appended_again"] == 0
    assert facts.found["training_set"]["rows"] == 327_346
    assert 0.72 < facts.found["auc"]["point_in_time"] < 0.80
    assert facts.found["auc"]["naive_promised"] > 0.95
    assert facts.found["auc"]["naive_delivered"] < facts.found["auc"]["point_in_time"] - 0.05
    assert "the naive join promises" in output.getvalue()


def check(store: FeatureStore, found: pa.Table) -> None:
    """Every row and feature of the year, worked out without the store."""
    flights = store.catalog.load_table("raw.flights").scan().to_arrow().to_pandas()
    by_hand.same(found, by_hand.demo(Asked(flights, found.to_pandas())))
