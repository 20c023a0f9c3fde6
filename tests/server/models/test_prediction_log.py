"""Predictions over HTTP are in their table once, in order and whole, also when the server is killed."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, Settings, connect, models
from featurestore.errors import Conflict
from featurestore.models import LoadedModel
from featurestore.models.prediction_log.log import PredictionLog, flush_file
from tests import shop
from tests.forked import fork_context

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

PATH = "/v1/models/spender/invocations"
RECORD = {"customer_id": 1, "basket": 40.0}
KILLS, SERVER_KILLS = 12, 3
CLIENTS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with a registered model."""
    home = tmp_path_factory.mktemp("shop")
    with shop.open_shop(home, mlflow_tracking_uri=mlflow_of(home)) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        tree = DecisionTreeRegressor().fit(rows, [80.0, 0.0, 0.0])
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        models.set_alias("spender", "champion", 1, store=store, approver="test")
        # A process that does not have to ask MLflow begins sooner.
        mlflow.artifacts.download_artifacts("models:/spender/1", dst_path=str(home / "model"))
    return home


def settings_of(home: Path, **more: Any) -> dict[str, Any]:
    """The settings of a server whose log is flushed at once."""
    return {"home": home, "mlflow_tracking_uri": mlflow_of(home), "prediction_log": "full", "prediction_log_seconds": 0.01, **more}


def mlflow_of(home: Path) -> str:
    """The MLflow of the shop. It is named, since a process inherits the address that was last used in this one."""
    return f"sqlite:///{home}/mlflow.db"


def serve(settings: dict[str, Any], parent: Connection) -> None:
    """Serve until the process is killed."""
    with FeatureStore(settings=Settings(**settings)) as store, shop.serving(store) as url:
        parent.send(url)
        threading.Event().wait()


def predict(settings: dict[str, Any], parent: Connection) -> None:
    """Predict and log as a server does, and tell the parent of each prediction, until the process is killed."""
    with FeatureStore(settings=Settings(**settings)) as store:
        model = LoadedModel(str(store.settings.home_path() / "model"), store, "spender", "1")
        log = PredictionLog(store)
        log.start()
        for number in count():
            id = f"{os.getpid()}-{number}"
            log.record(model.finish([RECORD, RECORD]), id)
            parent.send(id)


@contextmanager
def killed(work: Callable[[dict[str, Any], Connection], None], settings: dict[str, Any]) -> Iterator[tuple[Connection, int]]:
    """A process, and what it sends, that is killed at the latest at the end of the block."""
    context = fork_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(settings, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(60)
        yield ours, process.pid or 0
    finally:
        process.kill()
        process.join()


def ask(http: httpx.Client, url: str, id: str, rows: int = 1) -> None:
    """Ask for predictions, and wait for the answer."""
    http.post(f"{url}{PATH}", json={"dataframe_records": [RECORD] * rows}, headers={"X-Request-ID": id}).raise_for_status()


def ask_until_killed(url: str, name: str, answered: list[str]) -> None:
    """Ask, and note the answered requests, until the server is gone."""
    with httpx.Client(timeout=30) as http, suppress(httpx.TransportError):
        for number in range(10_000):
            ask(http, url, f"{name}-{number}", 2)
            answered.append(f"{name}-{number}")


def logged(store: FeatureStore) -> list[dict[str, Any]]:
    """All logged predictions."""
    flush_file(store)
    rows: list[dict[str, Any]] = store.catalog.load_table("inference.spender").scan().to_arrow().to_pylist()
    return rows


def check(store: FeatureStore, answered: list[str], unanswered: int) -> None:
    """Both rows of each answered request are logged once; of those that were not answered some may be, whole."""
    rows = logged(store)
    counted = Counter((row["request_id"], row["row_number"]) for row in rows)
    assert {(id, row) for id in answered for row in (0, 1)} <= set(counted)
    assert set(counted.values()) == {1}
    assert len(counted) - 2 * len(answered) <= 2 * unanswered
    assert {row["prediction"] for row in rows} == {80.0}


def test_no_logged_prediction_is_lost_or_doubled_by_kills(home: Path) -> None:
    dice, answered = random.Random(5), list[str]()
    for _ in range(KILLS):
        with killed(predict, settings_of(home)) as (sent, pid):
            until = time.monotonic() + dice.uniform(0.05, 0.6)
            with suppress(EOFError):
                while True:
                    answered.append(sent.recv())
                    if time.monotonic() > until:
                        os.kill(pid, signal.SIGKILL)
    with FeatureStore(home=home) as store:
        check(store, answered, KILLS)
        assert len(answered) > KILLS


def test_no_answered_prediction_is_lost_or_doubled_by_kills_of_a_server(home: Path) -> None:
    answered = list[str]()
    for number in range(SERVER_KILLS):
        with killed(serve, settings_of(home)) as (sent, pid), httpx.Client(timeout=60) as http:
            url = sent.recv()
            ask(http, url, f"first-{number}", 2)
            answered.append(f"first-{number}")
            clients = [threading.Thread(target=ask_until_killed, args=(url, f"k{number}-{one}", answered)) for one in range(CLIENTS)]
            for client in clients:
                client.start()
            for more in range(20):
                ask(http, url, f"more-{number}-{more}", 2)
            os.kill(pid, signal.SIGKILL)
            for client in clients:
                client.join()
    with FeatureStore(home=home) as store:
        rows = Counter(row["request_id"] for row in logged(store))
        assert {rows[id] for id in answered} == {2}
        assert set(rows.values()) == {2}


def test_an_answer_is_replayed_over_http_as_soon_as_it_is_there(home: Path) -> None:
    settings = Settings(**settings_of(home, prediction_log_seconds=3600))
    with FeatureStore(settings=settings) as store, shop.serving(store) as url, httpx.Client(base_url=url, timeout=60) as http:
        ask(http, "", "replayed", 2)
        body = http.get("/v1/predictions/replayed/replay", params={"row": 1}).raise_for_status().json()
        assert (body["equal"], body["row"], body["rows"], body["prediction"]["replayed"]) == (True, 1, 2, 80.0)
        with connect(url) as remote:
            again = remote.replay("replayed", row=1)
            assert (again.equal, again.why, again.notes) == (True, (), ())
        unknown = http.get("/v1/predictions/replayed/replay", params={"row": 2})
        assert (unknown.status_code, "no row '2' in the prediction replayed" in unknown.text) == (404, True)
        ask(http, "", "replayed", 3)
        refused = http.get("/v1/predictions/replayed/replay")
        assert (refused.status_code, "2 different requests have the id replayed" in refused.text) == (409, True)
        first = {"row": 1, "model": "spender", "at": body["predicted_at"]}
        chosen = http.get("/v1/predictions/replayed/replay", params=first).raise_for_status().json()
        assert (chosen["predicted_at"], chosen["rows"], chosen["equal"]) == (body["predicted_at"], 2, True)
        with connect(url) as remote:
            assert remote.replay("replayed", 1, "spender", again.predicted_at).rows == 2
            with pytest.raises(Conflict, match="say which by its model= and at="):
                remote.replay("replayed", model="spender")


def test_all_rows_of_a_split_request_are_replayed_as_one(home: Path) -> None:
    settings = Settings(**settings_of(home, prediction_log_seconds=3600))
    with FeatureStore(settings=settings) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        tree = DecisionTreeRegressor().fit(rows, [7.0, 7.0, 7.0])
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        models.set_alias("spender", "challenger", 2, store=store, approver="test")
        store.set_traffic("spender", {"champion": 50, "challenger": 50}, approver="test")
        with shop.serving(store) as url, httpx.Client(base_url=url, timeout=60) as http:
            records = [{"customer_id": number, "basket": 40.0} for number in range(20)]
            # The second is a client's retry.
            for _ in range(2):
                answer = http.post(PATH, json={"dataframe_records": records}, headers={"X-Request-Id": "shared"}).raise_for_status().json()
            assert set(answer["arms"]) == {"champion", "challenger"}
            replayed = [store.replay("shared", number) for number in range(20)]
    assert [again.arm for again in replayed] == answer["arms"]
    assert [again.prediction.logged for again in replayed] == answer["predictions"]
    assert {(again.rows, again.equal) for again in replayed} == {(20, True)}
    assert len({again.predicted_at for again in replayed}) == 1
