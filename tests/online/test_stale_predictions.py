"""Predictions from a view that is stale do what the view says, and say so in the word of lookups, metrics and training sets."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, Settings, connect, models
from featurestore.errors import NotReady
from tests.online.test_stale import MODES, NOW, ROWS, services
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.worlds import load_source

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

RECORDS = [{"k": 0}, {"k": 5}]


class Known(PythonModel):  # type: ignore[misc]
    """A model that answers the feature, and -1 where there is none."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The feature."""
        return [-1.0 if pd.isna(value) else float(value) for value in model_input["x"]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a model for each mode, whose views are three hours behind and may be two."""
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("stale"))) as store:
        load_source(store, "raw.s", ROWS)
        store.apply(services())
        store.materialize(end=NOW - timedelta(hours=3))
        spine = [{"k": 0, "at": NOW - timedelta(days=1), "y": 1.0}]
        for mode in MODES:
            made = store.training_set(mode, spine, timestamp="at", label="y")
            models.log_model(Known(), training_set=made, registered_model_name=mode, store=store, pip_requirements=["mlflow"])
        with serve(store) as opened:
            yield opened


def test_predictions_do_what_the_view_says(served: Served) -> None:
    with connect(served.url, timeout=60, retries=0) as remote:
        value, null = remote.predict("value", RECORDS), remote.predict("null", RECORDS)
        assert (value.predictions, value.status) == ([10.0, -1.0], {"v_value": ["STALE", "NOT_FOUND"]})
        assert (null.predictions, null.status) == ([-1.0, -1.0], {"v_null": ["STALE", "NOT_FOUND"]})
        with pytest.raises(NotReady, match=r"view v_error is stale: it is materialized through .* ago"):
            remote.predict("error", RECORDS)
    body = error_of(served.http.post("/v1/models/error/invocations", json={"dataframe_records": RECORDS}), 503, "NotReady")
    assert body["details"]["status"] == "STALE"
    assert served.http.post("/v1/models/value/invocations", json={"dataframe_records": []}).json()["status"] == {}


def test_metrics_and_training_sets_use_the_same_word(served: Served) -> None:
    before = count(served)
    served.http.post("/v1/models/value/invocations", json={"dataframe_records": RECORDS}).raise_for_status()
    assert count(served) == before + 1
    made = served.store.training_set("value", [{"k": 0, "at": NOW, "y": 1.0}], timestamp="at", label="y")
    assert any("v_value is STALE" in warning for warning in made.manifest["warnings"])


def test_a_fresh_view_is_present_again(served: Served) -> None:
    served.store.materialize()
    with connect(served.url, timeout=60, retries=0) as remote:
        for mode in MODES:
            assert remote.predict(mode, RECORDS).status == {f"v_{mode}": ["PRESENT", "NOT_FOUND"]}


def count(served: Served) -> float:
    """The stale rows that were looked up for the service `value`."""
    series = 'featurestore_online_rows_total{service="value",status="STALE",view="v_value"} '
    return sum(float(line.removeprefix(series)) for line in served.http.get("/metrics").text.splitlines() if line.startswith(series))
