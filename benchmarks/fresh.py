"""`python -m benchmarks.fresh`: pushed events while others look up, until every process is killed.

A server takes lots of ten events at a rate, beside lookups at a rate; a client asks for each of its own events until an answer has it.
Then the server is killed at a random instant, and what was acknowledged must be in the answers of the next one.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.http_client import Connection
from benchmarks.timing import in_turns, show
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg, connect
from featurestore.pipelines.fresh.refresher import refresher_of
from featurestore.push.lot import make_lot
from featurestore.sources.kept.pushed_table import pushed_columns

LOT = 10
USERS = 1_000
SOURCE = Source(
    "clicks",
    schema={"user_id": "bigint", "at": "timestamptz", "amount": "double", "event_id": "varchar"},
    timestamp="at",
    id="event_id",
)
PUSH, LOOKUP = "/v1/sources/clicks/push", "/v1/services/now/online"
PUSHERS, READERS = 8, 4


def definitions() -> list[FeatureService]:
    """A row view and two windows that end now."""
    user = Entity("user", keys="user_id")
    windows = {"n": agg.count(over=["1m", "1h"]), "spend": agg.sum("amount", over="1h")}
    recent = FeatureView("recent", entity=user, source=SOURCE, every="continuous", features=windows)
    newest = FeatureView("newest", entity=user, source=SOURCE, features=["amount"])
    return [FeatureService("now", features=[recent, newest])]


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server over a home folder, in a process of its own."""
    port = random.randrange(20_000, 40_000)
    command = [str(Path(sys.executable).with_name("featurestore")), "serve", "--port", str(port)]
    environment = {**os.environ, "FEATURESTORE_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                Connection(url).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Clients:
    """Threads that push and ask at a rate, and what they measured, in seconds."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self._threads: list[threading.Thread] = []
        self.acknowledged, self.lookups, self.fresh = list[float](), list[float](), list[float]()
        self.counts: dict[int, int] = {}
        self._lock = threading.Lock()

    def start(self, name: str, rate: float, threads: int, ask: "Callable[[Connection, random.Random], None]") -> None:
        """Call `ask` so many times a second in all."""
        for number in range(threads):
            work = threading.Thread(target=self._repeat, args=(ask, threads / rate, random.Random(f"{name}{number}")), daemon=True)
            self._threads.append(work)
            work.start()

    def stop(self) -> None:
        """End all threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def push(self, connection: Connection, chance: random.Random) -> None:
        """Push a lot of events of any users."""
        users = [chance.randrange(USERS) for _ in range(LOT)]
        began = time.perf_counter()
        connection.post(PUSH, _body(users, chance))
        with self._lock:
            self.acknowledged.append(time.perf_counter() - began)
            for user in users:
                self.counts[user] = self.counts.get(user, 0) + 1

    def look_up(self, connection: Connection, chance: random.Random) -> None:
        """Ask for a user."""
        began = time.perf_counter()
        connection.post(LOOKUP, b'{"entities":[{"user_id":%d}]}' % chance.randrange(USERS))
        self.lookups.append(time.perf_counter() - began)

    def follow(self, connection: Connection, chance: random.Random) -> None:
        """Push one event of a new user, and ask until an answer has it."""
        user = chance.randrange(10**9, 10**12)
        connection.post(PUSH, _body([user], chance))
        began = time.perf_counter()
        while b"NOT_FOUND" in connection.post(LOOKUP, b'{"entities":[{"user_id":%d}]}' % user):
            time.sleep(0.005)
        self.fresh.append(time.perf_counter() - began)

    def _repeat(self, ask: "Callable[[Connection, random.Random], None]", pause: float, chance: random.Random) -> None:
        connection, due = Connection(self._url), time.perf_counter()
        while not self._stop.is_set():
            try:
                ask(connection, chance)
            except (OSError, RuntimeError):
                # The server was killed: this push is not acknowledged.
                return
            due += pause
            self._stop.wait(max(due - time.perf_counter(), 0))


def _body(users: list[int], chance: random.Random) -> bytes:
    at = datetime.now(UTC).isoformat()
    rows = [{"user_id": user, "at": at, "amount": 1.5, "event_id": f"{chance.getrandbits(96):x}"} for user in users]
    return json.dumps({"rows": rows}).encode()


def run_load(console: Console, seconds: float, pushes: float, lookups: float) -> None:
    """Print the latencies with and without pushes, and whether a kill lost anything."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with FeatureStore(home=home) as store:
            store.apply(definitions())
            store.push("clicks", pa.table(_columns(list(range(USERS)))))
            store.materialize()
        with serving(home) as (url, _):
            alone, loaded = Clients(url), Clients(url)
            alone.start("read", lookups, READERS, alone.look_up)
            time.sleep(seconds)
            alone.stop()
            loaded.start("push", pushes, PUSHERS, loaded.push)
            loaded.start("read", lookups, READERS, loaded.look_up)
            loaded.start("follow", 5, 2, loaded.follow)
            time.sleep(seconds + random.random())
        # Killed: requests that are on the way fail.
        loaded.stop()
        with serving(home) as (url, _), connect(url) as remote:
            deadline, lost = time.monotonic() + 30, 1
            while lost and time.monotonic() < deadline:
                answer = remote.online_features("now", [{"user_id": user} for user in range(USERS)])
                counted = [row[answer.features.index("n_1h")] for row in answer.rows]
                lost = sum(max(loaded.counts.get(user, 0) + 1 - (count or 0), 0) for user, count in enumerate(counted))
    table = Table("", "count", "p50 ms", "p99 ms", title=f"{pushes:g} lots of {LOT} a second, {lookups:g} lookups, {seconds:g} s")
    figures = {"acknowledged": loaded.acknowledged, "fresh": loaded.fresh, "lookups": loaded.lookups, "lookups alone": alone.lookups}
    for name, values in figures.items():
        ordered = sorted(values) or [float("nan")]
        table.add_row(name, f"{len(values):,}", *(f"{ordered[int(len(ordered) * q)] * 1e3:.1f}" for q in (0.5, 0.99)))
    console.print(table)
    console.print(f"lost after kill -9: {lost}")


def run_append(console: Console, lots: int, rounds: int) -> None:
    """Pushes by several threads against bare inserts of as many bytes into a SQLite file, of which each waits for the disk."""
    with TemporaryDirectory() as folder, FeatureStore(home=Path(folder) / "home") as store:
        store.apply(definitions())
        refresher_of(store._runtime).serve()
        tables = [pa.table(_columns(list(range(LOT)))) for _ in range(lots)]
        schema = pa.schema([field for field in pushed_columns(SOURCE) if field.name in tables[0].column_names])
        bodies = [make_lot(table.cast(schema), "at", "event_id") for table in tables]
        bare = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        bare.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE lots (body BLOB); CREATE TABLE ids (id BLOB PRIMARY KEY)"
        )
        number = iter(range(10**9))

        def insert() -> None:
            for lot in bodies:
                with bare:
                    bare.execute("BEGIN")
                    bare.execute("INSERT INTO lots VALUES (?)", (lot.body,))
                    bare.executemany("INSERT INTO ids VALUES (?)", [(next(number),) for _ in lot.ids or ()])

        def push() -> None:
            with ThreadPoolExecutor(PUSHERS) as pool:
                list(pool.map(lambda _: store.push("clicks", pa.table(_columns(list(range(LOT))))), range(lots)))

        show(console, f"{lots:,} pushes of {LOT}", in_turns([("bare SQLite", insert), ("push", push)], rounds), "bare SQLite")
        bare.close()


def _columns(users: list[int]) -> dict[str, pa.Array]:
    at = pa.array([datetime.now(UTC)] * len(users), pa.timestamp("us", "UTC"))
    ids = [f"{random.getrandbits(96):x}" for _ in users]
    return {"user_id": pa.array(users, pa.int64()), "at": at, "amount": pa.array([1.5] * len(users)), "event_id": ids}


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pushes", type=float, default=200, help="lots a second; 200")
    parser.add_argument("--lookups", type=float, default=200, help="lookups a second; 200")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--parts", nargs="*", default=["load", "append"])
    given = parser.parse_args()
    console = Console()
    if "load" in given.parts:
        run_load(console, given.seconds, given.pushes, given.lookups)
    if "append" in given.parts:
        run_append(console, 300, given.rounds)


if __name__ == "__main__":
    main()
