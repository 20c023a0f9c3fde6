"""Predictions over HTTP: features are looked up by keys, and rows have either of MLflow's two forms."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.tree import DecisionTreeRegressor

# MLflow reads it when it is imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

with warnings.catch_warnings():
    # It warns about type hints of its own.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401

from featurestore import connect, models
from tests import shop
from tests.cli.running import as_json
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]

URL = "/v1/models/spender/invocations"
RECORD = {"customer_id": 1, "basket": 40.0}


@pytest.fixture(scope="module")
def modelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop with a registered model that memorizes the spend, whose first version has the alias champion."""
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store, serve(store) as opened:
        made = opened.store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        for depth in (3, 1):
            tree = DecisionTreeRegressor(max_depth=depth).fit(rows, [80.0, 0.0, 0.0])
            # Without requirements MLflow starts a Python of its own to find them.
            models.log_model(
                tree, training_set=made, registered_model_name="spender", store=opened.store, pip_requirements=["scikit-learn"]
            )
        models.set_alias("spender", "champion", 1, approver="test", store=opened.store)
        yield opened


def test_a_client_and_the_command_line_get_the_same(modelled: Served, tmp_path: Path) -> None:
    answer = modelled.http.post(URL, json={"dataframe_records": [RECORD]}).json()
    with connect(modelled.url) as remote:
        asked = remote.predict("spender", [RECORD]), remote.predict("spender", [RECORD], alias="champion")
        ids = {answer.pop("request_id"), *(prediction.request_id for prediction in asked)}
        assert [{**prediction.to_dict(), "request_id": None} for prediction in asked] == [{**answer, "request_id": None}] * 2
        assert len(ids) == 3
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([RECORD] * 3), rows)
    body = as_json("score", "models:/spender/2", "--spine", str(rows), "--at", "online", "--url", modelled.url)
    assert [row["prediction"] for row in body["first"]] == answer["predictions"] * 3


def test_keys_in_predictions_out(modelled: Served) -> None:
    answer = modelled.http.post(URL, json={"dataframe_records": [RECORD, {**RECORD, "customer_id": 99}]})
    assert answer.is_success, answer.text
    body = answer.json()
    assert body["predictions"] == [80.0, 0.0]
    assert (body["model"], body["version"]) == ("spender", "1")
    assert body["snapshots"]["customer_orders_v1"] == modelled.store.view("customer_orders")["snapshot_id"]


def test_both_forms_versions_and_aliases(modelled: Served) -> None:
    split = {"dataframe_split": {"columns": list(RECORD), "data": [list(RECORD.values())], "index": [0]}}
    for params in ({"version": "1"}, {"alias": "champion"}):
        body = modelled.http.post(URL, json=split, params=params).json()
        assert (body["version"], body["predictions"]) == ("1", [80.0])


def test_features_sent_along_override(modelled: Served) -> None:
    body = modelled.http.post(URL, json={"dataframe_records": [{**RECORD, "orders_7d": 0, "spend_30d": 0.0}]}).json()
    assert body["predictions"] == [0.0]


def test_they_are_listed(modelled: Served) -> None:
    body = modelled.http.get("/v1/models").json()
    assert [(model["model"], model["version"], model["aliases"]) for model in body] == [
        ("spender", "2", []),
        ("spender", "1", ["champion"]),
    ]


def test_wrong_requests(modelled: Served) -> None:
    post = modelled.http.post
    error_of(post("/v1/models/spende/invocations", json={"dataframe_records": [RECORD]}), 404, "NotFound")
    error_of(post(URL, json={"dataframe_records": [RECORD]}, params={"version": "9"}), 404, "NotFound")
    error_of(post(URL, json={"dataframe_records": [{"customer": 1}]}), 400, "RequestError")
    error_of(post(URL, json={"dataframe_records": [{**RECORD, "customer_id": "x"}]}), 422, "TypeMismatch")
    error_of(post(URL, json={}), 422, "RequestError")
    error_of(post(URL, json={"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}), 422, "RequestError")
    error_of(post("/v1/training-sets/models:/spende/1/rebuild"), 404, "NotFound")


def test_a_rebuild_by_model(modelled: Served) -> None:
    answer = modelled.http.post("/v1/training-sets/models:/spender/1/rebuild")
    assert answer.json()["id"] == modelled.store.training_sets()[0]["id"]


def test_models_behind_aliases_are_loaded_before_the_first_request(modelled: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The loader itself: in a server it runs concurrently with the first requests, without a signal when it is done."""
    loaded = models.LoadedModels(modelled.store)
    loaded.load_aliased(["spender", "no_such_model"], lambda: False)
    assert list(loaded._models) == [("spender", "1")]
    assert "no_such_model is not loaded ahead" in caplog.text
    idle = models.LoadedModels(modelled.store)
    idle.load_aliased(["spender"], lambda: True)
    assert not idle._models
