"""Workers: requests that cannot be stopped are ended with their process, and leave no process and no file."""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow as pa
import pytest

from featurestore import FeatureStore
from featurestore.server.run import HUNG_SECONDS
from featurestore.server.workers.origin import FORKS
from featurestore.server.workers.workers import BEGIN_SECONDS
from tests import shop
from tests.cli.running import COMMAND
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of

ONE = "SELECT customer_id, max(ordered_at) AS asked_at, max(amount) AS basket FROM shop.orders GROUP BY customer_id"
LONG = "repeat(CAST(amount AS VARCHAR), 200000)"
STUCK = f"SELECT customer_id, ordered_at AS asked_at, levenshtein({LONG}, {LONG} || 'x') + amount AS basket FROM shop.orders"
"""A single function call takes hours, and the engine does not interrupt it."""

pytestmark = pytest.mark.slow


def request_of(sql: str) -> dict[str, Any]:
    return {"service": "churn", "timestamp": "asked_at", "spine": {"sql": sql}}


def children(pid: int) -> list[int]:
    return [child for child, parent in parents().items() if parent == pid]


def parents() -> dict[int, int]:
    """The parent of every process that has not ended."""
    parent_of = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        # One may end between the look at the folder and that at the file.
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                parent_of[int(path.parent.name)] = int(parent)
    return parent_of


def grandchildren(pid: int) -> list[int]:
    return [each_pid for child in children(pid) for each_pid in children(child)]


def descendants(pid: int) -> list[int]:
    return [each_pid for child in children(pid) for each_pid in (child, *descendants(child))]


def workers() -> list[int]:
    """The workers of all servers of this process."""
    return [] if FORKS.process is None else children(FORKS.process.pid)


@pytest.fixture
def forked() -> Callable[[], list[int]]:
    """The workers of this test's server: those that did not exist before."""
    before = set(workers())
    return lambda: [worker for worker in workers() if worker not in before]


def working(served: Served, forked: Callable[[], list[int]]) -> int:
    """The process id of the server's only worker, once the engine runs in it."""
    spill = served.store.settings.spill_path()
    # The folder of the worker, and in it that of an engine session.
    until(lambda: len(forked()) == 1 and bool(list(spill.glob("session-*/session-*"))))
    (worker,) = forked()
    # A second of it is spent in the one call that takes hours: to begin a session takes less.
    until(lambda: processor_seconds(worker) > 1)
    return worker


def processor_seconds(pid: int) -> float:
    """The processor time of a process since it was forked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition becomes true."""
    deadline = os.times().elapsed + seconds
    while not true():
        assert os.times().elapsed < deadline
        Event().wait(0.02)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Served]:
    """A shop whose server gives a request enough time to reach a call that nothing interrupts."""
    with shop.open_shop(tmp_path / "home", query_seconds=4, query_queue=0) as store, serve(store) as served:
        yield served


def test_a_request_that_cannot_be_interrupted_is_ended_with_its_worker(strict: Served, forked: Callable[[], list[int]]) -> None:
    places = strict.store.settings.query_workers
    with ThreadPoolExecutor(places) as pool:
        answers = list(pool.map(lambda _: strict.http.post("/v1/point-in-time", json=request_of(STUCK)), range(places)))
    for answer in answers:
        assert "query_seconds" in error_of(answer, 503, "Timeout")["message"]
    assert strict.http.post("/v1/plan", json={"definitions": {}}).is_success
    until(lambda: len(forked()) <= 1)
    spill = strict.store.settings.spill_path()
    # What is left is the folder of the worker that planned, with nothing in it.
    until(lambda: len(list(spill.iterdir())) <= 1)
    assert not [path for path in spill.rglob("*") if path.is_file()]


def test_an_idle_worker_that_is_stopped_is_replaced(strict: Served, forked: Callable[[], list[int]]) -> None:
    assert strict.http.post("/v1/plan", json={"definitions": {}}).is_success
    (idle,) = forked()
    os.kill(idle, signal.SIGSTOP)
    began = time.monotonic()
    assert strict.http.post("/v1/plan", json={"definitions": {}}).is_success
    assert time.monotonic() - began < BEGIN_SECONDS / 2
    until(lambda: idle not in forked())


def test_a_request_that_cannot_be_interrupted_is_ended_when_its_client_disconnects(tmp_path: Path, forked: Callable[[], list[int]]) -> None:
    with shop.open_shop(tmp_path / "home", query_workers=1, query_queue=0) as store, serve(store) as served:
        with closing(http.client.HTTPConnection(served.http.base_url.host, served.http.base_url.port or 80)) as leaving:
            leaving.request("POST", "/v1/point-in-time", json.dumps(request_of(STUCK)), {"Content-Type": "application/json"})
            worker = working(served, forked)
        until(lambda: served.http.post("/v1/plan", json={"definitions": {}}).is_success)
        assert worker not in forked()


def test_a_worker_that_crashes_is_logged_and_replaced(own: Served, forked: Callable[[], list[int]]) -> None:
    """A worker ends like this when a library aborts, and when the system runs out of memory."""
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(own.http.post, "/v1/point-in-time", json=request_of(STUCK))
        os.kill(working(own, forked), signal.SIGKILL)
        assert "crashed" in error_of(asking.result(), 507, "OutOfResources")["message"]
    answer = own.http.post("/v1/point-in-time", json=request_of(ONE))
    assert pa.ipc.open_stream(answer.content).read_all().num_rows == len(shop.order_rows()["customer_id"].unique())
    (idle,) = forked()
    os.kill(idle, signal.SIGKILL)
    until(lambda: not forked())
    assert own.http.post("/v1/plan", json={"definitions": {}}).is_success


def test_a_client_that_disconnects_during_a_response_frees_its_worker(tmp_path: Path) -> None:
    few = " ".join(f"CROSS JOIN shop.orders o{index}" for index in range(7))
    wide = f"SELECT a.customer_id, a.ordered_at AS asked_at, a.amount AS basket FROM shop.orders a {few}"
    with shop.open_shop(tmp_path / "home", query_workers=1, query_queue=0) as store, serve(store) as served:
        whole = served.http.post("/v1/point-in-time", json=request_of(wide))
        assert len(whole.content) > 4 << 20
        with served.http.stream("POST", "/v1/point-in-time", json=request_of(wide)) as answer:
            assert next(answer.iter_raw(1024))
        until(lambda: served.http.post("/v1/plan", json={"definitions": {}}).is_success)
        assert served.http.post("/v1/point-in-time", json=request_of(wide)).content == whole.content


def test_workers_end_with_a_web_process_that_is_killed_and_all_with_the_server(own_shop: FeatureStore, tmp_path: Path) -> None:
    command = [*COMMAND, "serve", "--port", "0", "--home", str(own_shop.settings.home_path())]
    environment = {**os.environ, "FEATURESTORE_WORKERS": "2", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            # The one that runs jobs, the two that answer with what each forks from, and one that keeps count for Python.
            until(lambda: len(descendants(server.pid)) == 6)
            assert httpx.get(f"{url}/healthz").is_success
            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(httpx.post, f"{url}/v1/point-in-time", json=request_of(STUCK), timeout=60)
                until(lambda: any(map(grandchildren, children(server.pid))))
                (replaced,) = [pid for pid in children(server.pid) if grandchildren(pid)]
                workers = grandchildren(replaced)
                os.kill(replaced, signal.SIGKILL)
                with pytest.raises(httpx.TransportError):
                    asking.result()
            until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
            until(lambda: replaced not in children(server.pid) and len(descendants(server.pid)) == 6, HUNG_SECONDS / 2)
            assert httpx.get(f"{url}/healthz").is_success
            all_of_it = descendants(server.pid)
            server.kill()
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in all_of_it))
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/healthz")
            assert not list(tmp_path.glob("featurestore-metrics-*"))
        finally:
            server.kill()


def test_a_server_that_shuts_down_answers_waiting_clients_and_leaves_nothing(own_shop: FeatureStore) -> None:
    command = [*COMMAND, "serve", "--port", "0", "--home", str(own_shop.settings.home_path())]
    spill = own_shop.settings.spill_path()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            url = server.stdout.readline().split()[-1]
            assert httpx.post(f"{url}/v1/point-in-time", json=request_of(ONE), timeout=60).is_success
            with ThreadPoolExecutor(2) as pool:
                asking = [pool.submit(httpx.post, f"{url}/v1/point-in-time", json=request_of(STUCK), timeout=60) for _ in range(2)]
                until(lambda: len(list(spill.glob("session-*/session-*"))) == 2)
                server.send_signal(signal.SIGTERM)
                for client in asking:
                    assert "send it again" in error_of(client.result(), 503, "NotReady")["message"]
            assert server.wait(60) == 0
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()
    assert list(spill.glob("session-*")) == []
