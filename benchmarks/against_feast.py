"""Lookups over HTTP against Feast's Python feature server, with the same rows in the same Redis.

Both have WORKERS processes. Feast has the newest row of each key, no access log, no restart of its workers, and reads its registry once an
hour. Median seconds are of one connection, requests a second of CONNECTIONS. All share the cores, also the client and Redis.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.error import URLError

import orjson
import redis
from rich.console import Console
from rich.table import Table

from benchmarks.http_client import Connection, load
from benchmarks.join import DAYS, VIEWS, given_views
from benchmarks.online import Case, make_bodies, published_to_redis
from benchmarks.online_servers import free_port, serve_store
from benchmarks.publish import has_redis
from benchmarks.servers import running

VERSION = "0.67.0"
DATABASE = 10
WORKERS = 2
CONNECTIONS = 8
CALLS = 200
"""Requests of a round on one connection."""
PATH = "/get-online-features"
LOADS = {"1 key": (1, 1000), "100 keys": (100, 100)}
"""Keys of a request, and the requests of a round."""


class Server(NamedTuple):
    """A feature server: its address, and the path and bodies of requests for so many keys."""

    url: str
    path: str
    bodies: Callable[[int], Sequence[bytes]]


def run(console: Console, rows: int, rounds: int, python: str | None = None) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys. Returns how many times lower p50 is than Feast's, and how many times higher requests a
    second are.

    `python` is the interpreter of an environment with Feast; without it, one is made.
    """
    if not has_redis():
        console.print("no Redis on port 6379: nothing compared with Feast")
        return {}
    keys = max(rows // 20, 100)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        interpreter = python or _make_environment(console, home / "environment")
        if interpreter is None:
            return {}
        given_views(home, rows, keys, DAYS)
        with (
            published_to_redis(home / "store") as online,
            running(serve_store, home / "store", online, WORKERS, os.sched_getaffinity(0)) as served,
            _feast(interpreter, home / "feast") as other,
        ):
            ours = Server(served.url, Case("endless", 1).path, lambda count: list(make_bodies(Case("endless", count), keys)))
            feast = Server(other, PATH, lambda count: [_as_feast(body) for body in make_bodies(Case("endless", count), keys)])
            _check_equal(ours, feast)
            return _compare(console, {"featurestore": ours, "Feast": feast}, rounds)


def _compare(console: Console, servers: dict[str, Server], rounds: int) -> dict[str, float]:
    measured: dict[str, list[list[float]]] = {"p50, ms, 1 key": [], **{f"requests a second, {name}": [] for name in LOADS}}
    for _ in range(rounds + 1):
        measured["p50, ms, 1 key"].append([_p50(server) * 1000 for server in servers.values()])
        for name, (keys, count) in LOADS.items():
            loads = [load(server.url, server.path, server.bodies(keys), CONNECTIONS, count) for server in servers.values()]
            measured[f"requests a second, {name}"].append([taken.requests / taken.seconds for taken in loads])
    table = Table(
        "", *servers, "times better", title=f"30 features over 3 views, Redis behind both, {WORKERS} workers", title_justify="left"
    )
    ratios: dict[str, float] = {}
    for name, all_rounds in measured.items():
        counted = all_rounds[1:]
        ratios[name] = statistics.median(other / own if name.startswith("p50") else own / other for own, other in counted)
        medians = (statistics.median(values) for values in zip(*counted, strict=True))
        table.add_row(name, *(f"{value:,.2f}" if name.startswith("p50") else f"{value:,.0f}" for value in medians), f"{ratios[name]:.1f}")
    console.print(table)
    return ratios


def _p50(server: Server) -> float:
    bodies, waited = server.bodies(1), []
    with closing(Connection(server.url)) as connection:
        for call in range(CALLS):
            began = time.perf_counter()
            connection.post(server.path, bodies[call % len(bodies)])
            waited.append(time.perf_counter() - began)
    return statistics.median(waited)


def _as_feast(body: bytes) -> bytes:
    """The same request to Feast."""
    keys = [entity["key"] for entity in orjson.loads(body)["entities"]]
    return orjson.dumps({"feature_service": "endless", "entities": {"key": keys}})


def _check_equal(ours: Server, feast: Server) -> None:
    """Raises: RuntimeError if the two do not answer the same values."""
    answers = []
    for server in (ours, feast):
        with closing(Connection(server.url)) as connection:
            answers.append(orjson.loads(connection.post(server.path, server.bodies(100)[0])))
    own, other = answers
    columns = dict(zip(other["metadata"]["feature_names"], (result["values"] for result in other["results"]), strict=True))
    if [list(row) for row in zip(*(columns[name] for name in own["features"]), strict=True)] != own["rows"]:
        raise RuntimeError("Feast answers other values")


def _make_environment(console: Console, folder: Path) -> str | None:
    """The interpreter of a new environment with Feast; None if it cannot be installed."""
    python = str(folder / "bin" / "python")
    commands = [[sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", "install", "-q", f"feast[redis]=={VERSION}"]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            console.print(f"Feast {VERSION} cannot be installed ({last}); pass --feast PYTHON of an environment that has it")
            return None
    return python


@contextmanager
def _feast(python: str, folder: Path) -> Iterator[str]:
    """The URL of Feast's feature server over a repository in `folder`, with the rows beside it; its Redis database is emptied."""
    folder.mkdir()
    port = free_port()
    environment = {**os.environ, "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    client = redis.Redis(db=DATABASE)
    client.flushdb()
    script = Path(__file__).with_name("feast_repo.py")
    subprocess.run([python, str(script), str(folder), f"127.0.0.1:6379,db={DATABASE}", str(VIEWS)], check=True, env=environment)
    command = [str(Path(python).with_name("feast")), "-c", str(folder), "serve", "--port", str(port), "--workers", str(WORKERS)]
    best = ["--no-access-log", "--max-requests", "0", "--registry_ttl_sec", "3600"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *best], stdout=log, stderr=log, env=environment)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()
            client.flushdb()
            client.close()


def _wait_for(url: str, server: "subprocess.Popen[Any]", log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except URLError:
            time.sleep(0.2)
    raise RuntimeError(f"Feast's feature server does not answer: {json.dumps(log.read_text()[-2000:])}")
