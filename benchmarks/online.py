"""Online lookups over HTTP: from LMDB against a constant answer of the same bytes, and from Redis against a bare MGET and that answer.

The keys of a round are asked for several times, and the server keeps entities that it looked up; one that keeps nothing answers as if they
were asked for the first time.

All are served by the same uvicorn. The server has one core; the client, which writes raw HTTP on one connection, has the other, and so
has Redis. Processor time is the server's.
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson
import redis
from rich.console import Console
from rich.table import Table

from benchmarks.http_client import Connection
from benchmarks.join import DAYS, given_views
from benchmarks.online_servers import serve_constant, serve_mget, serve_shared_mget, serve_store, serve_store_without_cache, two_cores
from benchmarks.publish import REDIS, has_redis
from benchmarks.servers import Running, running
from featurestore import FeatureStore, Settings
from featurestore.online.keys import encode_key
from featurestore.online.redis.address import RedisAddress
from featurestore.online.redis.reads import RedisReads

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


class Rival(NamedTuple):
    """A server to compare with: a function that serves on some cores, as in online_servers, without the cores."""

    name: str
    serve: Callable[..., None]
    arguments: tuple[Any, ...]


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys, `CALLS` requests a round. Returns the ratios of processor time."""
    keys = max(rows // 20, 100)
    with TemporaryDirectory() as folder, two_cores() as (server, client):
        home = Path(folder)
        given_views(home, rows, keys, DAYS)
        os.sched_setaffinity(0, client)
        first_time = Rival("nothing kept", serve_store_without_cache, (home / "store", None, 1))
        with running(serve_store, home / "store", None, 1, server) as served:
            costs = {
                name: _compare(
                    served, case, list(make_bodies(case, keys)), server, rounds, lambda answer, _: [constant(answer), first_time]
                )
                for name, case in CASES.items()
            }
        ratios = _report(console, "LMDB", ["constant", first_time.name], costs)
        for name, rounds_of_case in costs.items():
            ratio = _ratio([(kept_none.processor, bare.processor) for _, bare, kept_none in rounds_of_case])
            ratios[f"{name}, {first_time.name}, of constant"] = ratio
            console.print(f"{name}, {first_time.name}: {ratio:.2f} of the processor time of the constant answer")
        derived, plain = costs["1 key, one derived feature"], costs["1 key"]
        ratios["derived"] = _ratio([(one[0].processor, other[0].processor) for one, other in zip(derived, plain, strict=True)])
        console.print(f"one derived feature against none, 1 key: {ratios['derived']:.2f} of the processor time")
        if has_redis():
            ratios |= _from_redis(console, home / "store", keys, server, rounds)
    return ratios


def _from_redis(console: Console, home: Path, keys: int, server: set[int], rounds: int) -> dict[str, float]:
    with published_to_redis(home) as online, running(serve_store, home, online, 1, server) as served:
        tables = _tables(home, online)
        costs = {
            name: _compare(
                served,
                case,
                list(make_bodies(case, keys)),
                server,
                rounds,
                lambda answer, bodies: [
                    Rival("MGET, constant", serve_mget, (answer, REDIS, names := _names(online, tables, bodies))),
                    Rival("shared MGET, constant", serve_shared_mget, (answer, REDIS, names)),
                ],
            )
            for name, case in CASES.items()
        }
    ratios = _report(console, "Redis", ["MGET, constant", "shared MGET, constant"], costs)
    return {f"Redis, {name}": ratio for name, ratio in ratios.items()}


def constant(answer: bytes) -> Rival:
    """A server of the same bytes."""
    return Rival("constant", serve_constant, (answer,))


@contextmanager
def published_to_redis(home: Path) -> Iterator[str]:
    """The address of an online store in Redis with all rows of the store in `home`; emptied after the block."""
    prefix = "online-benchmark"
    online = f"{REDIS}?prefix={prefix}"
    with FeatureStore(settings=Settings(home=home, online=online)) as store:
        store.publish(full=True)
    try:
        yield online
    finally:
        with redis.Redis.from_url(REDIS) as client:
            names = list(client.scan_iter(f"{prefix}:*", count=10_000))
            for start in range(0, len(names), 1000):
                client.unlink(*names[start : start + 1000])


def _tables(home: Path, online: str) -> list[str]:
    """The feature tables of the service's views."""
    with FeatureStore(settings=Settings(home=home, online=online)) as store:
        return list(store.online_features("endless", [{"key": 0}]).snapshots)


def _names(online: str, tables: Sequence[str], bodies: Sequence[bytes]) -> list[list[bytes]]:
    """The keys that Redis is asked for by each request."""
    address = RedisAddress.parse(online)
    reads = RedisReads(address.names)
    with redis.Redis.from_url(address.url) as client:
        first = reads.plan([(table, []) for table in tables])
        reads.decode(first, client.mget(first.headers))
    names = []
    for body in bodies:
        encoded = [encode_key((entity["key"],)) for entity in orjson.loads(body)["entities"]]
        plan = reads.plan([(table, encoded) for table in tables])
        names.append(plan.headers + plan.rows)
    return names


def _compare(
    served: Running,
    case: Case,
    bodies: Sequence[bytes],
    core: set[int],
    rounds: int,
    rivals_of: Callable[[bytes, Sequence[bytes]], Sequence[Rival]],
) -> list[list[Cost]]:
    """The costs of the lookups and of each rival, round by round; the first round is not counted."""
    with ExitStack() as stack:
        with closing(Connection(served.url)) as connection:
            connection.post(case.path, bodies[0])
            answer = connection.post(case.path, bodies[0])
        others = [stack.enter_context(running(rival.serve, *rival.arguments, core)) for rival in rivals_of(answer, bodies)]
        costs = [[measure_cost(server, case, bodies) for server in (served, *others)] for _ in range(rounds + 1)]
    return costs[1:]


def measure_cost(server: Running, case: Case, bodies: Sequence[bytes], token: str | None = None) -> Cost:
    """The cost of CALLS requests with an API key."""
    # A new connection each time: the server closes one that is idle while the others have their turns.
    with closing(Connection(server.url, token)) as connection:
        waited, before = [], server.processor_seconds()
        for call in range(CALLS):
            began = time.perf_counter()
            connection.post(case.path, bodies[call % len(bodies)])
            waited.append(time.perf_counter() - began)
    return Cost((server.processor_seconds() - before) / CALLS, statistics.median(waited))


def make_bodies(case: Case, keys: int) -> Iterator[bytes]:
    """Distinct requests for random ones of so many keys."""
    chance = random.Random(case.keys)
    for _ in range(BODIES):
        yield orjson.dumps({"entities": [{"key": chance.randrange(keys)} for _ in range(case.keys)]})


def _report(console: Console, store: str, rivals: Sequence[str], costs: dict[str, list[list[Cost]]]) -> dict[str, float]:
    title = f"30 features over 3 views from {store}, over HTTP; rivals answer the same bytes"
    table = Table("", "", "processor, us", "ratio", "p50, us", "ratio", title=title, title_justify="left")
    ratios: dict[str, float] = {}
    for name, rounds in costs.items():
        for place, server in enumerate(["lookups", *rivals]):
            processor, p50 = ([(costs[0][index], costs[place][index]) for costs in rounds] for index in range(2))
            figures = (f"{_micros(processor)}", f"{_ratio(processor):.2f}", f"{_micros(p50)}", f"{_ratio(p50):.2f}")
            table.add_row(name if place == 0 else "", server, *figures)
            if place:
                ratios[name if place == 1 else f"{name}, {server}"] = _ratio(processor)
    console.print(table)
    return ratios


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(ours / other for ours, other in pairs)


def _micros(pairs: Sequence[tuple[float, float]]) -> str:
    return f"{statistics.median(other for _, other in pairs) * 1e6:.0f}"
