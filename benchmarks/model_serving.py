"""One prediction over HTTP: from a key, by this server, and from features that the caller has, by MLflow's own server."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from benchmarks.http_client import Connection
from benchmarks.model_world import FEATURES, KEYS, NAME, ModelWorld
from featurestore.models.mlflow_access.mlflow_client import mlflow

OURS = [sys.executable, "-c", "from featurestore.cli import main; main()", "serve"]
START_SECONDS = 120
REQUESTS = 200
"""Requests of one round."""


def measure_serving(world: ModelWorld, home: Path, rounds: int) -> dict[str, float]:
    """The medians of the milliseconds of a request, by server; the servers take turns."""
    # Saved by MLflow alone: its server gets the features by hand, and looks nothing up.
    plain = home / "plain"
    mlflow.sklearn.save_model(world.model, str(plain), serialization_format="cloudpickle", pip_requirements=[])
    frame = world.training_set.to_pandas(list(FEATURES)).head(REQUESTS)
    by_hand = [orjson.dumps({"dataframe_split": {"columns": list(FEATURES), "data": [row]}}) for row in frame.to_numpy().tolist()]
    by_key = [orjson.dumps({"dataframe_records": [{"key": number % KEYS}]}) for number in range(REQUESTS)]
    # MLflow starts uvicorn by its name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "FEATURESTORE_HOME": str(home / "store")}
    port, theirs_port = free_port(), free_port()
    theirs = ["mlflow", "models", "serve", "-m", str(plain), "-p", str(theirs_port), "--env-manager", "local"]
    served = f"/v1/models/{NAME}/invocations"
    with (
        serving([*OURS, "--port", str(port)], port, "/readyz", variables, home / "ours.log"),
        serving([sys.executable, "-m", *theirs], theirs_port, "/ping", variables, home / "theirs.log"),
    ):
        works = {
            "featurestore, from a key": (f"http://127.0.0.1:{port}", served, by_key),
            "mlflow models serve, from 30 features": (f"http://127.0.0.1:{theirs_port}", "/invocations", by_hand),
        }
        taken: dict[str, list[float]] = {name: [] for name in works}
        for counted in range(rounds + 1):
            for name, (url, path, bodies) in works.items():
                milliseconds = _ask(url, path, bodies)
                if counted:
                    taken[name] += milliseconds
    return {name: statistics.median(values) for name, values in taken.items()}


def _ask(url: str, path: str, bodies: Sequence[bytes]) -> list[float]:
    connection = Connection(url)
    try:
        taken = []
        for body in bodies:
            began = time.perf_counter()
            # Otherwise a server that sends an answer in two parts waits 40 ms between them, for an acknowledgment.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            connection.post(path, body)
            taken.append((time.perf_counter() - began) * 1000)
        return taken
    finally:
        connection.close()


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], port: int, path: str, variables: dict[str, str], log: Path) -> Iterator[None]:
    """A server in a process until the end of the block. Raises: RuntimeError with its log if it does not answer."""
    with log.open("wb") as output, subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not _answers(port, path):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text())
            yield
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            return probe.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        # Nobody listens yet; it is asked again at once, a few times a second at most.
        time.sleep(0.2)
        return False
