"""Models that are trained on feature lookups: logged, scored in batch and online, and traced back to a written table."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from featurestore import FeatureLookup, models
from featurestore.errors import RequestError
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.models.stamps.store_access import runtime_of
from featurestore.records import definitions
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import World
from tests.pipelines.written.writing import moment

pytestmark = VENDOR_WARNINGS

TIMES = pd.to_datetime(["2026-01-10"] * 4, utc=True)
LABELS = pd.DataFrame({"customer": [1, 2, 3, 4], "t": TIMES, "basket": [1.0, 2.0, 3.0, 4.0], "y": [10.0, 24.0, 33.0, 47.0]})
SCHEMA = {"id": "long", "at": "timestamp", "spend": "double", "visits": "long"}
LOOKUPS = [
    FeatureLookup("written", "customer", ["spend"], rename={"spend": "spend_90d"}, timestamp_lookup_key="t", default={"spend": 0.0}),
    FeatureLookup("written", "customer", ["visits"], timestamp_lookup_key="t", default={"visits": 0}),
]


@pytest.fixture(scope="module")
def trained(world: World) -> tuple[Any, Any, Any]:
    """A training set of lookups, a model that is trained on it, and MLflow's ModelInfo of that."""
    store = world.store
    store.create_table("written", "id", "at", schema=SCHEMA)
    store.write_table("written", [{"id": key, "at": moment(5), "spend": key * 2.0, "visits": key % 3} for key in (1, 2, 3)])
    store.write_table("written", [{"id": 1, "at": moment(20), "spend": 99.0, "visits": 9}])
    training_set = store.create_training_set(LABELS, LOOKUPS, label="y", exclude_columns=["customer", "t"], name="lookups")
    frame = training_set.load_df()
    model = LinearRegression().fit(frame.drop(columns="y"), frame["y"])
    info = models.log_model(model, training_set=training_set, name="lookups", registered_model_name="lookups", store=store)
    return training_set, model, info


def predict(model: Any, rows: list[tuple[float, float, int]]) -> list[float]:
    """What the model says of (basket, spend_90d, visits)."""
    return list(model.predict(pd.DataFrame(rows, columns=["basket", "spend_90d", "visits"])))


def test_load_df_has_the_inputs_and_the_label(trained: tuple[Any, Any, Any]) -> None:
    training_set, _, _ = trained
    frame = training_set.load_df()
    assert list(frame) == ["basket", "y", "spend_90d", "visits"]
    assert frame["spend_90d"].tolist() == [2.0, 4.0, 6.0, 0.0]


def test_a_frame_of_keys_is_scored_with_current_features(world: World, trained: tuple[Any, Any, Any]) -> None:
    _, model, info = trained
    keys = pd.DataFrame({"customer": [1, 4], "basket": [1.5, 2.5], "note": ["a", "b"]})
    scored = models.score_batch(info.model_uri, keys, store=world.store)
    assert list(scored) == ["customer", "basket", "note", "spend_90d", "visits", "prediction"]
    assert scored["prediction"].tolist() == pytest.approx(predict(model, [(1.5, 99.0, 9), (2.5, 0.0, 0)]))
    online = models.score("models:/lookups/1", keys, at="online", store=world.store)
    assert online["prediction"].tolist() == scored["prediction"].tolist()
    answer = LoadedModel("models:/lookups/1", world.store).predict([{"customer": 1, "basket": 1.5}, {"customer": 4, "basket": 2.5}])
    assert answer.predictions == scored["prediction"].tolist()


def test_a_frame_with_times_is_scored_as_of_them(world: World, trained: tuple[Any, Any, Any]) -> None:
    _, model, info = trained
    keys = LABELS.drop(columns="y")
    scored = models.score_batch(info.model_uri, keys, store=world.store)
    assert scored["spend_90d"].tolist() == [2.0, 4.0, 6.0, 0.0]
    assert scored["prediction"].tolist() == pytest.approx(predict(model, [(1.0, 2.0, 1), (2.0, 4.0, 2), (3.0, 6.0, 0), (4.0, 0.0, 0)]))
    late = models.score(info.model_uri, keys, at="2026-01-21", store=world.store)
    assert late["spend_90d"].tolist() == [99.0, 4.0, 6.0, 0.0]


def test_the_model_is_traced_to_the_table_and_keeps_it(world: World, trained: tuple[Any, Any, Any]) -> None:
    training_set, _, _ = trained
    assert "lookups" in {model.model for model in world.store.models()}
    impact = world.store.impact("written_v1", "spend")
    assert [affected.id for affected in impact.training_sets] == [training_set.id]
    frame = training_set.to_pandas()[["customer", "spend_90d"]].assign(t=0)
    other = LinearRegression().fit(frame, LABELS["y"])
    with pytest.raises(RequestError, match="'t', which is not a feature, request field or key of service lookup_"):
        models.log_model(other, training_set=training_set, name="bad", store=world.store)


def test_the_model_is_promoted_and_its_chain_verified_after_the_table_got_a_column(world: World, trained: tuple[Any, Any, Any]) -> None:
    assert models.promote("lookups", 1, approver="ann", store=world.store).changed
    world.store.create_table("written", "id", "at", schema={**SCHEMA, "later": "double"})
    audit = world.store.audit("models:/lookups@champion")
    assert audit.broken == ()
    (view,) = [link for link in audit.links if link.kind == "view"]
    assert "its definition has the fingerprint of the manifest" in view.verified


def test_a_written_table_whose_stored_columns_were_changed_has_another_fingerprint(world: World, trained: tuple[Any, Any, Any]) -> None:
    known = definitions.read_registry(runtime_of(world.store))
    row = known.get("view", "written")
    assert known.current_fingerprint(row) == row.fingerprint
    assert known.current_fingerprint(replace(row, columns={**row.columns, "spend": "BIGINT"})) != row.fingerprint
