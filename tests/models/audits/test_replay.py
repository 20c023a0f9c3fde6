"""Logged predictions are computed again, bit for bit, also after the catalog has moved on; what differs is said."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from featurestore import FeatureService, FeatureStore, models
from featurestore.errors import NotFound
from featurestore.lakehouse import tables, writes
from featurestore.models import LoadedModels
from featurestore.models.prediction_log.log import PredictionLog
from tests import shop
from tests.models import worlds
from tests.models.serving.test_alias_watch import wait_until
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.models.worlds import DAY, END, World

pytestmark = VENDOR_WARNINGS
NOW = datetime(2026, 3, 20, tzinfo=UTC)


def logged_rows(made: World, name: str) -> list[dict[str, Any]]:
    """The rows of a model's log, by time and number."""
    rows: list[dict[str, Any]] = made.store.catalog.load_table(f"inference.{name}").scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["predicted_at"], int(row["request_id"].rpartition("-")[2])))


def move_on(made: World) -> None:
    """New rows in both sources, materialized, and everything expired that may expire."""
    for number, source in enumerate(("shop.orders", "shop.profiles"), 1):
        table = made.store.catalog.load_table(source)
        time = "ordered_at" if source == "shop.orders" else "updated_at"
        row = table.scan().to_arrow().slice(0, 1).to_pylist()[0] | {time: NOW - number * DAY}
        table.append(pa.Table.from_pylist([row], table.scan().to_arrow().schema))
    made.store.materialize(end=END + DAY)
    made.store.maintain(older_than=timedelta(0))


@pytest.mark.slow
def test_predictions_are_replayed_after_the_catalog_has_moved_on(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "moved")
    with made.store as store:
        models.log_model(made.model, training_set=made.training_set, name="lived", registered_model_name="lived")
        spine = worlds.spine(6, label=False)
        models.score("models:/lived/1", spine, log=True, store=store)
        models.score("models:/lived/1", spine, at="training", log=True, store=store)
        models.score("models:/lived/1", spine.drop_columns(["t"]), at=NOW, log=True, store=store)
        overriding = spine.append_column("age", pa.array([77, None] * 3, pa.int32())).append_column(
            "o_spend_30d", pa.array([None, 5.0] * 3)
        )
        models.score("models:/lived/1", overriding, log=True, store=store)
        models.score("models:/lived/1", worlds.keys(1, 2, worlds.UNKNOWN), at="online", log=True, store=store)
        rows = logged_rows(made, "lived")
        assert len({row["request_id"] for row in rows}) == 27
        move_on(made)
        for row in rows[::2]:
            outcome = store.replay(row["request_id"])
            assert outcome.equal, outcome.why
            assert outcome.prediction.logged == row["prediction"]
            assert {value.name for value in outcome.features if value.overridden} == set(row["overridden"])
        with pytest.raises(NotFound, match="no prediction"):
            store.replay("nothing")
        tampered = rows[0] | {"request_id": "tampered-0", "age": 1, "prediction": not rows[0]["prediction"]}
        table = tables.load(store.catalog, "inference.lived")
        writes.append_retrying(table, pa.Table.from_pylist([tampered], tables.arrow_schema(table)).to_reader())
        outcome = store.replay("tampered-0")
        assert not outcome.equal
        assert f"the feature age was 1 and is {rows[0]['age']}" in outcome.why[0] or rows[0]["age"] is None
        assert "because its features differ" in outcome.why[1]
        client = mlflow.MlflowClient()
        client.delete_registered_model("lived")
        outcome = store.replay(rows[0]["request_id"])
        assert outcome.equal
        assert rows[0]["model_id"] in outcome.notes[0]
        client.delete_logged_model(rows[0]["model_id"])
        assert "cannot be computed again" in store.replay(rows[0]["request_id"]).why[0]


class Scaled(PythonModel):  # type: ignore[misc]
    """A model with a parameter."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The basket, so many times."""
        return [float(basket) * (params or {}).get("factor", 1.0) for basket in model_input["basket"]]


def test_predictions_of_a_server_are_replayed_after_a_long_life(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "served")
    settings = made.store.settings.model_copy(update={"prediction_log": "full"})
    with made.store, FeatureStore(settings=settings) as store:
        models.log_model(made.model, training_set=made.training_set, registered_model_name="lasting", pyfunc_predict_fn="predict_proba")
        signature = mlflow.models.infer_signature(pd.DataFrame({"basket": [1.0]}), [1.0], params={"factor": 1.0})
        models.log_model(
            Scaled(), training_set=made.training_set, registered_model_name="scaled", inputs=["basket"], signature=signature, store=store
        )
        loaded, log = LoadedModels(store), PredictionLog(store)
        record = {"basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}
        records: list[dict[str, Any]] = [
            {**record, "customer_id": 3},
            {**record, "customer_id": worlds.UNKNOWN},
            {**record, "customer_id": 4, "age": 77, "o_spend_30d": 5.0},
        ]
        log.record(loaded.get("lasting").finish(records), "http-1", arm="champion")
        log.record(loaded.get("scaled").finish(records[:1], {"factor": 3.0}), "http-2")
        # What waits in the spool is replayed.
        first = store.replay("http-1", 2)
        assert (first.row, first.rows, first.arm, first.equal, first.notes) == (
            2,
            3,
            "champion",
            True,
            ("the caller sent age, o_spend_30d",),
        )
        move_on(made)
        store.apply([worlds.definitions("7d")])
        store.materialize(end=END + 2 * DAY)
        store.maintain(older_than=timedelta(0), drop_superseded_after=timedelta(0))
        for row in range(3):
            outcome = store.replay("http-1", row)
            assert outcome.equal, outcome.why
            assert outcome.prediction.logged == first.prediction.logged or row != 2
        scaled = store.replay("http-2")
        assert (scaled.equal, scaled.prediction.replayed, scaled.parameters) == (True, 30.0, {"factor": 3.0})
        with pytest.raises(NotFound, match=r"no row '3' in the prediction http-1; known: '0', '1', '2'"):
            store.replay("http-1", 3)
        _change_files(store, "lasting")
        changed = store.replay("http-1")
        assert not changed.equal
        assert "cannot be computed again: the model's file" in changed.why[0]
        log.stop()


def _change_files(store: FeatureStore, name: str) -> None:
    """Change a file of a model where MLflow keeps it."""
    source = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1"))
    (source / "model.pkl").write_bytes((source / "model.pkl").read_bytes() + b" ")


def test_what_staleness_and_ttl_did_is_said_and_repeated(own_shop: FeatureStore) -> None:
    spender = FeatureService(
        "stale",
        features=[replace(shop.customer_orders, stale_after="1s", stale="null"), shop.customer_profile],
        request={"basket": "double"},
    )
    own_shop.apply([spender])
    made = own_shop.training_set("stale", shop.spine(), timestamp="asked_at", label="churned")
    models.log_model(Basket(), training_set=made, registered_model_name="stale", inputs=["basket", "spend_30d", "score"], store=own_shop)
    settings = own_shop.settings.model_copy(update={"prediction_log": "full"})
    with FeatureStore(settings=settings) as store:
        log = PredictionLog(store)
        model, records = LoadedModels(store).get("stale"), [{"customer_id": 2, "basket": 1.0}]
        wait_until(lambda: model.predict(records).status["customer_orders"] == ["STALE"])
        log.record(model.finish(records), "stale-1")
        outcome = store.replay("stale-1")
    assert outcome.equal, outcome.why
    assert {value.name: value.replayed for value in outcome.features} == {"spend_30d": None, "score": None}
    assert outcome.notes == (
        "customer_orders was stale at the time of the lookup, so the model got none of its features",
        "the row of customer_profile was older than the view's ttl at the time of the lookup, so the model got none of its features",
    )


class Basket(PythonModel):  # type: ignore[misc]
    """A model that takes NULLs."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The basket."""
        return [float(basket) for basket in model_input["basket"]]
