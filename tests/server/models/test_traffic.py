"""A server with two processes splits requests as it was told last, without a restart and without failing a request."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports it

from featurestore import FeatureStore, connect, models
from featurestore.models.mlflow_access import tracking
from featurestore.records.traffic_split import place_of
from tests import shop
from tests.cli.running import as_json, run
from tests.cli.test_serve import serve
from tests.server.test_errors import error_of
from tests.waiting import wait_until

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

INVOKE = "/v1/models/spender/invocations"
RECORDS = [{"customer_id": key, "basket": 1.0} for key in range(40)]
VALUES = {"champion": 1.0, "challenger": 2.0, "other": 3.0}
"""What the version behind each alias predicts."""
WAIT = 120.0


@dataclass(frozen=True)
class Split:
    """A store, and a client of the server over it, which has two processes."""

    store: FeatureStore
    url: str
    http: httpx.Client

    def ask(self, **body: Any) -> dict[str, Any]:
        """An answer over a new connection, which any of the processes takes."""
        answer = httpx.post(f"{self.url}{INVOKE}", json=body or {"dataframe_records": RECORDS}, timeout=60)
        assert answer.is_success, answer.text
        answer_body: dict[str, Any] = answer.json()
        return answer_body

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until both processes answer so: twenty answers in a row come from one of them in one of 500,000 runs."""
        deadline, row = time.monotonic() + WAIT, 0
        while row < 20:
            answer = self.ask()
            row = row + 1 if holds(answer) else 0
            assert time.monotonic() < deadline, answer

    def set(self, weights: dict[str, float], **more: Any) -> None:
        """Set the split, and wait until both processes follow."""
        self.store.set_traffic("spender", weights, **more)
        self.until(lambda found: set(found.get("arms", ())) == {alias for alias in weights if weights[alias]})


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    """Three versions behind three aliases, each of which predicts a number of its own."""
    folder = tmp_path_factory.mktemp("split")
    with shop.open_shop(folder / ".featurestore") as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        for alias, value in VALUES.items():
            tree = DecisionTreeRegressor().fit(rows, [value] * 3)
            models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
            mlflow.MlflowClient().set_registered_model_alias("spender", alias, str(list(VALUES).index(alias) + 1))
        with serve(folder, "--workers", "2") as (_, url), httpx.Client(base_url=url, timeout=60) as http:
            wait_until(lambda: http.get("/readyz").is_success)
            yield Split(store, url, http)


@pytest.fixture(autouse=True)
def tracked(split: Split) -> None:
    """MLflow at the store's own database."""
    tracking.use_tracking(split.store.settings)


def expected(weights: dict[str, float]) -> list[str]:
    """The alias of each of the RECORDS, by the rule that the page states."""
    answers = []
    for record in RECORDS:
        place, low = place_of("spender", [str(record["customer_id"])]), 0.0
        for alias in sorted(weights):
            if low <= place < low + weights[alias] * 100:
                answers.append(alias)
            low += weights[alias] * 100
    return answers


def test_each_record_goes_to_its_alias(split: Split) -> None:
    weights = {"champion": 60.0, "challenger": 40.0}
    split.set(weights)
    for found in (split.ask(), split.ask(), split.ask(instances=[list(record.values()) for record in RECORDS])):
        assert found["arms"] == expected(weights)
        assert found["predictions"] == [VALUES[alias] for alias in found["arms"]]
        assert (found["version"], found["model_id"]) == (None, None)
        assert {alias: arm["version"] for alias, arm in found["answered_by"].items()} == {"champion": "1", "challenger": "2"}
        assert found["snapshots"] == found["answered_by"]["champion"]["snapshots"]
        assert found["status"]["customer_orders"] == ["PRESENT" if key in (1, 2) else "NOT_FOUND" for key in range(40)]
    tensors = [
        {"name": name, "shape": [40], "datatype": datatype, "data": [record[name] for record in RECORDS]}
        for name, datatype in (("customer_id", "INT64"), ("basket", "FP64"))
    ]
    outputs = {one["name"]: one["data"] for one in split.http.post("/v2/models/spender/infer", json={"inputs": tensors}).json()["outputs"]}
    assert outputs["arm"] == expected(weights)
    assert outputs["version"] == ["1" if alias == "champion" else "2" for alias in outputs["arm"]]
    with connect(split.url) as remote:
        prediction = remote.predict("spender", RECORDS)
        assert prediction.arms == expected(weights)
        assert prediction.answered_by is not None
        assert prediction.answered_by["challenger"].version == "2"
        assert remote.predict("spender", RECORDS, alias="other").predictions == [3.0] * 40
        assert remote.predict("spender", RECORDS[:1], version=2).arms is None


def test_errors_have_the_numbers_of_the_request(split: Split) -> None:
    split.set({"champion": 60.0, "challenger": 40.0})
    for number, record in ((7, {"customer_id": 7, "baskett": 1}), (9, {"customer_id": 9, "basket": "x"})):
        records = [record if key == number else RECORDS[key] for key in range(40)]
        error = split.http.post(INVOKE, json={"dataframe_records": records}).json()["error"]
        assert f"[{number}]" in error["message"], error
    error = error_of(
        split.http.post(INVOKE, json={"dataframe_records": [*RECORDS, {"customer_id": "x", "basket": 1}]}), 422, "TypeMismatch"
    )
    assert error["message"].startswith("records[40].customer_id")


def test_a_change_under_load_fails_no_request(split: Split) -> None:
    split.set({"champion": 100})
    seen: list[tuple[int, frozenset[str]]] = []
    stopped = threading.Event()

    def load() -> None:
        while not stopped.is_set():
            answer = httpx.post(f"{split.url}{INVOKE}", json={"dataframe_records": RECORDS}, timeout=60)
            seen.append((answer.status_code, frozenset(answer.json().get("arms", ["none"]))))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for weights in ({"challenger": 100.0}, {"champion": 50.0, "other": 50.0}):
        split.set(weights)
    split.store.set_traffic("spender", {})
    split.until(lambda found: "arms" not in found)
    stopped.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in seen} == {200}
    assert {arms for _, arms in seen} == {frozenset(arms) for arms in (["champion"], ["challenger"], ["champion", "other"], ["none"])}


def test_a_removed_alias_leaves_its_share_to_the_largest(split: Split) -> None:
    weights = {"champion": 50.0, "challenger": 20.0, "other": 30.0}
    split.set(weights)
    client = mlflow.MlflowClient()
    client.delete_registered_model_alias("spender", "other")
    try:
        # MLflow is asked again after five seconds.
        split.until(lambda found: "other" not in found["arms"])
        assert split.ask()["arms"] == [alias.replace("other", "champion") for alias in expected(weights)]
        states = split.http.get("/readyz").json()
        assert states["aliases"] == "spender: the traffic names other, which MLflow has no more, champion answers in place"
        split.store.set_traffic("spender", {"challenger": 100})
        split.until(lambda found: set(found["arms"]) == {"challenger"})
    finally:
        client.set_registered_model_alias("spender", "other", "3")
    split.set({"other": 100})
    assert "aliases" not in split.http.get("/readyz").json()


def test_over_http_and_from_the_command_line(split: Split) -> None:
    path = "/v1/models/spender/traffic"
    body = {"weights": {"champion": 90, "challenger": 10}, "approver": "ann", "reason": "try"}
    answer = split.http.put(path, json=body).json()
    assert (answer["weights"], answer["keys"], answer["approver"]) == ({"challenger": 10, "champion": 90}, ["customer_id"], "ann")
    assert split.http.get(path).json() == answer == split.store.traffic("spender")
    with connect(split.url) as remote:
        assert remote.traffic("spender") == answer
        shadowed = remote.set_traffic("spender", {"champion": 100}, "challenger", reason="look")
        assert (shadowed.shadow, shadowed.approver) == (("challenger",), "local")
    assert as_json("traffic", "spender", "--url", split.url) == shadowed
    shown = run("traffic", "spender", "champion=75", "challenger=25", "--approver", "bob", "--url", split.url)
    assert shown.exit_code == 0
    assert "recorded" in shown.stdout
    assert "75 %" in shown.stdout
    assert "challenger=25, champion=75" in run("traffic", "spender", "--url", split.url).stdout
    assert "not split" in run("traffic", "spender", "--remove", "--url", split.url).stdout
    put = split.http.put
    for weights in ({"champion": 50}, {"champion": -1, "challenger": 101}, {"champion": 99.999, "challenger": 0.001}):
        error_of(put(path, json={"weights": weights}), 400, "RequestError")
    error_of(put(path, json={"weights": {"champoin": 100}}), 404, "NotFound")
    error_of(put(path, content='{"weights": {"champion": NaN}}', headers={"content-type": "application/json"}), 422, "RequestError")
    error_of(put(path, json={"weights": {"champion": "100"}}), 422, "RequestError")
    error_of(put(path, json={"weights": {}, "shadows": []}), 422, "RequestError")
    error_of(put("/v1/models/spende/traffic", json={"weights": {}}), 404, "NotFound")
    error_of(split.http.get("/v1/models/spende/traffic"), 404, "NotFound")
    assert split.store.traffic("spender").weights == {}


@pytest.mark.parametrize("arguments, status", [(["champion"], 1), (["champion=x"], 1), (["a=50", "a=50"], 1), (["--shadow", "a"], 2)])
def test_wrong_command_lines(arguments: list[str], status: int, tmp_path: Path) -> None:
    done = run("traffic", "spender", *arguments, "--home", str(tmp_path))
    assert done.exit_code == status
    assert "champion=" in done.stderr or "given twice" in done.stderr
