"""A prediction from rows that went on without a run is replayed at its instant, and what differs then has a named cause."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg, models
from featurestore.models.prediction_log.log import PredictionLog
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.waiting import wait_until

pytestmark = VENDOR_WARNINGS


class Count(PythonModel):  # type: ignore[misc]
    """A model that gives its feature back."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The number of events."""
        return [float(value) for value in model_input["n_4s"]]


@pytest.mark.slow
def test_a_prediction_between_two_runs_is_replayed_at_its_instant(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path, prediction_log="full")) as store:
        schema = {"k": "bigint", "t": "timestamptz", "id": "varchar"}
        source, entity = Source("clicks", schema=schema, timestamp="t", id="id"), Entity("user", keys="k")
        recent = FeatureView("recent", entity=entity, source=source, every="continuous", features={"n": agg.count(over="4s")})
        newest = FeatureView("newest", entity=entity, source=source, features=["id"])
        store.apply([FeatureService("clicked", features=[recent, newest])])

        def push(name: str, ago: float = 0) -> None:
            assert store.push("clicks", [{"k": 1, "t": datetime.now(UTC) - timedelta(seconds=ago), "id": name}]).late is None

        push("a")
        store.materialize()
        spine = pa.table({"k": [1], "t": pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC")), "y": [1.0]})
        trained = store.training_set("clicked", spine=spine, timestamp="t", label="y")
        signature = mlflow.models.infer_signature(pd.DataFrame({"n_4s": [1.0]}), [1.0])
        models.log_model(Count(), training_set=trained, registered_model_name="count", inputs=["n_4s"], signature=signature, store=store)
        loaded, log = models.LoadedModels(store).get("count"), PredictionLog(store)
        wait_until(lambda: loaded.finish([{"k": 1}]).prediction.predictions == [0.0])
        push("b")
        push("c")
        log.record(loaded.finish([{"k": 1}]), "between")
        early = store.replay("between")
        assert (early.prediction.logged, early.equal) == (2.0, False)
        assert "view recent is not materialized up to the time of the prediction" in early.why[0]
        store.materialize()
        again = store.replay("between")
        assert again.equal, again.why
        assert "the row of recent was computed at the instant of the lookup" in again.notes[0]
        push("late", ago=3)
        store.materialize()
        late = store.replay("between")
        assert (late.prediction.replayed, late.equal) == (3.0, False)
        assert "events of recent came after the prediction that happened before it" in late.why[0]
