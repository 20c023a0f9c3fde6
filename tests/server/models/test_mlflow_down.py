"""A server whose MLflow hangs: requests that need MLflow do not keep any other waiting."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports MLflow

from featurestore import models
from tests import shop
from tests.models.mlflow_access.silence import silent_server
from tests.server.conftest import serve
from tests.waiting import rounds_until_done

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

REQUESTS = 45
RECORD = {"customer_id": 1, "basket": 40.0}


def test_waiting_alias_requests_do_not_delay_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The user's own limits go before ours, which are longer.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    with shop.open_shop(tmp_path) as store, serve(store) as served, silent_server() as address:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        tree = DecisionTreeRegressor().fit(rows, [80.0, 0.0, 0.0])
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        models.set_alias("spender", "champion", 1, store=store)

        def predict(model: str, alias: str | None = None) -> httpx.Response:
            params = {} if alias is None else {"alias": alias}
            body = {"dataframe_records": [RECORD]}
            return httpx.post(f"{served.url}/v1/models/{model}/invocations", params=params, json=body, timeout=60)

        assert predict("spender").json()["predictions"] == [80.0]
        assert predict("spender", "champion").is_success
        mlflow.set_tracking_uri(address)
        try:
            lookup = {"entities": [{"customer_id": 1}]}
            probes = [
                ("GET", "/readyz", None),
                ("GET", "/v1/models", None),
                ("POST", "/v1/services/plain/online", lookup),
                ("POST", "/v1/models/spender/invocations?alias=champion", {"dataframe_records": [RECORD]}),
            ]
            rounds = 0
            with ThreadPoolExecutor(REQUESTS) as pool:
                asked = [pool.submit(predict, f"unknown{number}", "champion") for number in range(REQUESTS)]
                for number in rounds_until_done(asked):
                    for method, path, body in probes:
                        assert served.http.request(method, path, json=body).is_success, path
                    rounds = number
            answers = [request.result() for request in asked]
            assert {(answer.status_code, answer.json()["error"]["type"]) for answer in answers} == {(503, "NotReady")}
            # Had one of the probes waited for MLflow, the first round had been the last.
            assert rounds > 2
            assert served.http.get("/readyz").json()["models"] == "down"
            assert [model["aliases"] for model in served.http.get("/v1/models").json()] == [["champion"]]
        finally:
            mlflow.set_tracking_uri(before)


def test_a_parameter_that_a_route_does_not_have_is_refused_on_every_route(tmp_path: Path) -> None:
    with shop.open_shop(tmp_path) as store, serve(store) as served:
        store.create_share("partners")
        recipient = {"Authorization": f"Bearer {store.create_recipient('acme', 'partners').profile['bearerToken']}"}
        paths = served.http.get("/openapi.json").json()["paths"]
        routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
        assert ("POST", "/v1/models/{name}/invocations") in routes
        for method, path in [*routes, ("GET", "/docs")]:
            headers = recipient if path.startswith("/delta-sharing") else {}
            answer = served.http.request(method, path.replace("{", "").replace("}", ""), params={"verison": "1"}, headers=headers)
            # The address of a shared file is signed, with its parameters.
            signed = path.endswith("/files/{file}")
            assert answer.status_code == (401 if signed else 400), (method, path, answer.text)
            if not signed and method != "HEAD":
                assert f"{method} {path} has no query parameter 'verison'" in str(answer.json().get("error", answer.json())["message"])
        misspelled = served.http.post("/v1/models/x/invocations?verison=1", json={"dataframe_records": [RECORD]})
        assert "did you mean 'version'" in misspelled.json()["error"]["message"]
