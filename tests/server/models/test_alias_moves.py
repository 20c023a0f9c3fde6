"""A server of two processes under load while aliases move: no request fails, and each answer is in the log once."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, models
from featurestore.demo.serving import serving
from featurestore.models.prediction_log.log import flush_file
from tests import shop
from tests.models.serving.test_alias_watch import Unloadable, wait_until

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

PATH = "/v1/models/spender/invocations"
BODY = {"dataframe_records": [{"customer_id": 1, "basket": 40.0}]}
CLIENTS = 3
PAUSE_SECONDS = 0.02
"""Between the requests of a client: without it, three clients keep two processors busy."""


class Client:
    """Requests one after the other, each on a connection of its own, so that both processes get some."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self.stopping = threading.Event()
        self.answers: list[tuple[str, int, str]] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            while not self.stopping.wait(PAUSE_SECONDS):
                id = f"{self._name}-{len(self.answers)}"
                answer = http.post(PATH, json=BODY, headers={"X-Request-ID": id})
                self.answers.append((id, answer.status_code, str(answer.json().get("version"))))


def test_aliases_move_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    with shop.open_shop(home) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        for value in (1.0, 2.0):
            tree = DecisionTreeRegressor().fit(rows, [value] * 3)
            models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        models.log_model(Unloadable(), training_set=made, registered_model_name="spender", store=store, pip_requirements=["mlflow"])
        models.set_alias("spender", "champion", 1, store=store)
    for name, setting in (("WORKERS", "2"), ("PREDICTION_LOG", "full"), ("PREDICTION_LOG_SECONDS", "0.2")):
        monkeypatch.setenv(f"FEATURESTORE_{name}", setting)
    with serving(home, tmp_path / "server.log") as http:
        clients = [Client(str(http.base_url), f"client-{number}") for number in range(CLIENTS)]
        for client in clients:
            client.thread.start()
        try:
            _move_about(http, clients)
        finally:
            for client in clients:
                client.stopping.set()
                client.thread.join()
    answers = [answer for client in clients for answer in client.answers]
    assert Counter(status for _, status, _ in answers) == {200: len(answers)}
    with FeatureStore(home=home) as store:
        flush_file(store)
        logged = store.catalog.load_table("inference.spender").scan().to_arrow().to_pylist()
    assert sorted((row["request_id"], row["version"], row["prediction"]) for row in logged) == sorted(
        (id, version, float(version)) for id, _, version in answers
    )


def _move_about(http: httpx.Client, clients: list[Client]) -> None:
    def are_at(version: str) -> Callable[[], bool]:
        """Whether the last answers of all clients are of the version."""
        return lambda: all([one[2] for one in client.answers[-5:]] == [version] * 5 for client in clients)

    wait_until(are_at("1"))
    client = mlflow.MlflowClient()
    for version in ("2", "1"):
        client.set_registered_model_alias("spender", "champion", version)
        wait_until(are_at(version))
    client.set_registered_model_alias("spender", "champion", "3")
    wait_until(lambda: "version 3 cannot be loaded" in http.get("/readyz").raise_for_status().json().get("aliases", ""))
    wait_until(lambda: "featurestore_model_aliases_behind 1.0" in http.get("/metrics").text)
    assert are_at("1")()
    client.set_registered_model_alias("spender", "champion", "2")
    wait_until(are_at("2"))
    wait_until(lambda: "aliases" not in http.get("/readyz").json())
