"""A server with two processes, whose MLflow server hangs and then dies: what is loaded goes on answering, and nothing else waits."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports it

from featurestore import models
from featurestore.models.mlflow_access import tracking
from tests import shop
from tests.cli.test_serve import serve
from tests.models.mlflow_database import write_tables
from tests.waiting import rounds_until_done, wait_until

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

WAIT = 120.0
ROUNDS = 10
"""New connections of each kind, which reach both processes nearly always."""
RECORD = {"customer_id": 1, "basket": 40.0}


@dataclass(frozen=True)
class Served:
    """The URL of a server with two processes, and the process of its MLflow server."""

    url: str
    mlflow_server: subprocess.Popen[bytes]

    def predict(self, model: str = "spender") -> httpx.Response:
        """A prediction over a new connection."""
        return httpx.post(f"{self.url}/v1/models/{model}/invocations", json={"dataframe_records": [RECORD]}, timeout=WAIT)

    def ready(self) -> httpx.Response:
        """The probe over a new connection."""
        return httpx.get(f"{self.url}/readyz", timeout=WAIT)

    def look_up(self) -> httpx.Response:
        """A lookup over a new connection."""
        return httpx.post(f"{self.url}/v1/services/plain/online", json={"entities": [{"customer_id": 1}]}, timeout=WAIT)

    def answers(self) -> None:
        """One round: a prediction of a loaded model, a probe and a lookup."""
        predicted = self.predict()
        assert predicted.is_success, predicted.text
        assert predicted.json()["predictions"] == [40.0]
        assert self.ready().status_code == 200
        assert self.look_up().json()["status"] == {"customer_orders": ["PRESENT"], "customer_profile": ["PRESENT"]}


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A real MLflow server over a database and a folder of artifacts, in a process group of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    write_tables(folder / "mlflow.db")
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    # It starts in half of the time without its own jobs.
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        [*command, *places], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            wait_until(lambda: is_healthy(address))
            yield server, address
        finally:
            # Its process group outlives the first of its processes.
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def is_healthy(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=WAIT).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop with a model whose prediction is the basket, behind two processes that have loaded it from an MLflow server."""
    folder = tmp_path_factory.mktemp("killed")
    before = mlflow.get_tracking_uri()
    with mlflow_server(folder) as (process, address), shop.open_shop(folder / ".featurestore", mlflow_tracking_uri=address) as store:
        tracking.use_tracking(store.settings)
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = made.to_pandas()[["basket"]]
        tree = DecisionTreeRegressor().fit(rows, rows["basket"])
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        models.set_alias("spender", "champion", 1, approver="test", store=store)
        mlflow.set_tracking_uri(before)
        with serve(folder, "--workers", "2", MLFLOW_TRACKING_URI=address) as (_, url):
            served = Served(url, process)
            wait_until(lambda: served.ready().is_success)
            for _ in range(ROUNDS):
                served.answers()
            yield served


def waiting_rounds(served: Served, pending: "Future[httpx.Response]") -> int:
    """The rounds that are answered while a request waits for MLflow."""
    rounds = 0
    for number in rounds_until_done([pending]):
        served.answers()
        rounds = number
    return rounds


def test_loaded_models_probes_and_lookups_go_on_without_mlflow(served: Served) -> None:
    assert served.ready().json()["models"] == "ok"
    with ThreadPoolExecutor(1) as pool:
        # It hangs: connections are taken, and nothing is answered.
        os.killpg(served.mlflow_server.pid, signal.SIGSTOP)
        rounds = waiting_rounds(served, pool.submit(served.predict, "unknown"))
        # Had one of the others waited for MLflow too, the first round had been the last.
        assert rounds > 2
    os.killpg(served.mlflow_server.pid, signal.SIGKILL)
    served.mlflow_server.wait(WAIT)
    for _ in range(ROUNDS):
        served.answers()
    wait_until(lambda: served.ready().json()["models"] == "down")
    for _ in range(ROUNDS):
        served.answers()
    unknown = served.predict("unknown")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (503, "NotReady")
    assert served.ready().json()["predictions"] == "cached only"
