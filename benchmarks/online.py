"""Online lookups over HTTP against a constant answer: an ASGI callable that returns the same bytes, served by the same uvicorn.

The server has one core and the client, which writes raw HTTP on one connection, has the other. Processor time is the server's.
"""

import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, given_views
from benchmarks.servers import Running, running
from featurestore import Settings

CALLS = 2000
"""Requests in one round."""
BODIES = 100
"""Distinct requests, sent in turn."""


class Case(NamedTuple):
    """Requests for `keys` entities each of one service."""

    service: str
    keys: int

    @property
    def path(self) -> str:
        """Where requests are sent."""
        return f"/v1/services/{self.service}/online"


CASES = {"1 key": Case("endless", 1), "100 keys": Case("endless", 100), "1 key, one derived feature": Case("ratio", 1)}


class Cost(NamedTuple):
    """Processor seconds of the server per request, and the median seconds that the client waited."""

    processor: float
    p50: float


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys from LMDB, `CALLS` requests a round. Returns the ratios of processor time."""
    keys = max(rows // 20, 100)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, keys, DAYS)
        with _two_cores() as (server, client), running(_serve, home / "store", server) as served:
            os.sched_setaffinity(0, client)
            costs = {name: _compare(served, case, list(_bodies(case, keys)), server, rounds) for name, case in CASES.items()}
    return _report(console, costs)


def _compare(served: Running, case: Case, bodies: Sequence[bytes], core: set[int], rounds: int) -> list[tuple[Cost, Cost]]:
    """The costs of the lookups and of a constant answer of the same bytes, round by round; the first round is not counted."""
    with closing(Connection(served.url)) as connection:
        answer = connection.post(case.path, bodies[0])
        with running(_serve_constant, answer, core) as constant, closing(Connection(constant.url)) as other:
            costs = [(_cost(served, connection, case, bodies), _cost(constant, other, case, bodies)) for _ in range(rounds + 1)]
    return costs[1:]


def _cost(server: Running, connection: "Connection", case: Case, bodies: Sequence[bytes]) -> Cost:
    waited, before = [], server.processor_seconds()
    for call in range(CALLS):
        began = time.perf_counter()
        connection.post(case.path, bodies[call % len(bodies)])
        waited.append(time.perf_counter() - began)
    return Cost((server.processor_seconds() - before) / CALLS, statistics.median(waited))


def _bodies(case: Case, keys: int) -> Iterator[bytes]:
    chance = random.Random(case.keys)
    for _ in range(BODIES):
        yield orjson.dumps({"entities": [{"key": chance.randrange(keys)} for _ in range(case.keys)]})


class Connection:
    """HTTP/1.1 on one connection that stays open, with as little work of the client as there can be."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host = address.netloc
        self._socket = socket.create_connection((address.hostname or "", address.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer. Raises: RuntimeError unless the status is 200."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        received = self._socket.recv(1 << 20)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(1 << 20)
        start = received.lower().index(b"content-length:") + 15
        size = end + 4 + int(received[start : received.index(b"\r\n", start)])
        while len(received) < size:
            received += self._socket.recv(1 << 20)
        if not received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(received.decode(errors="replace"))
        return received[end + 4 :]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def _two_cores() -> Iterator[tuple[set[int], set[int]]]:
    """A core for the server and one for the client; the same one if there is only one."""
    available = os.sched_getaffinity(0)
    cores = sorted(available)
    try:
        yield {cores[0]}, {cores[-1]}
    finally:
        os.sched_setaffinity(0, available)


def _report(console: Console, costs: dict[str, list[tuple[Cost, Cost]]]) -> dict[str, float]:
    title = "30 features over 3 views from LMDB, over HTTP; the constant answer has the same bytes"
    table = Table("", "processor, us", "constant", "ratio", "p50, us", "constant", "ratio", title=title, title_justify="left")
    ratios: dict[str, float] = {}
    for name, rounds in costs.items():
        processor, p50 = ([(ours[index], other[index]) for ours, other in rounds] for index in range(2))
        ratios[name], waited = _ratio(processor), _ratio(p50)
        table.add_row(name, *_micros(processor), f"{ratios[name]:.2f}", *_micros(p50), f"{waited:.2f}")
    console.print(table)
    derived, plain = costs["1 key, one derived feature"], costs["1 key"]
    ratios["derived"] = _ratio([(one[0].processor, other[0].processor) for one, other in zip(derived, plain, strict=True)])
    console.print(f"one derived feature against none, 1 key: {ratios['derived']:.2f} of the processor time")
    return ratios


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(ours / other for ours, other in pairs)


def _micros(pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    ours, other = (statistics.median(values) * 1e6 for values in zip(*pairs, strict=True))
    return f"{ours:.0f}", f"{other:.0f}"


# What imports this module needs no web framework.


def _serve(home: Path, cores: set[int], announce: Callable[[str], None]) -> None:
    os.sched_setaffinity(0, cores)
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home, port=0), announce)


def _serve_constant(answer: bytes, cores: set[int], announce: Callable[[str], None]) -> None:
    os.sched_setaffinity(0, cores)
    import uvicorn  # noqa: PLC0415

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            continue
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        announce(f"http://127.0.0.1:{listening.getsockname()[1]}")
        config = uvicorn.Config(application, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_config=None)
        uvicorn.Server(config).run([listening])
