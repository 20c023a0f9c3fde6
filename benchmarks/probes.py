"""Probes and lookups of a server while it refuses endless queries and large bodies, against the same server at rest."""

import multiprocessing
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, given_views
from benchmarks.servers import running
from benchmarks.timing import seconds
from featurestore import Settings

AT_ONCE = 40
QUERY_SECONDS = 5.0
BODY_BYTES = (16 << 20) - 1000
EVERY_SECONDS = 0.02
SELECT = "SELECT a.key, a.event_time AS asked_at{} FROM raw.view0 a"
CROSSED = SELECT + " CROSS JOIN raw.view0 b CROSS JOIN raw.view0 c"
ENDLESS = (
    CROSSED.format(""),
    f"{CROSSED.format('')} ORDER BY b.r0_f0 + c.r0_f1",
    "SELECT a.key, max(b.event_time) AS asked_at FROM raw.view0 a CROSS JOIN raw.view0 b CROSS JOIN raw.view0 c GROUP BY a.key",
    SELECT.format(", levenshtein(repeat(CAST(a.r0_f0 AS VARCHAR), 100000), repeat(CAST(a.r0_f1 AS VARCHAR), 100000)) AS slow"),
)
"""Joins without end, one that is sorted, one that is aggregated, and a call that the engine does not interrupt."""
PROBES: Mapping[str, tuple[str, str, Any]] = {
    "/healthz": ("GET", "/healthz", None),
    "/readyz": ("GET", "/readyz", None),
    "/metrics": ("GET", "/metrics", None),
    "a lookup of one key": ("POST", "/v1/services/few/online", {"entities": [{"key": 1}]}),
    "a lookup of 100 keys": ("POST", "/v1/services/few/online", {"entities": [{"key": key} for key in range(100)]}),
}


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """`AT_ONCE` endless queries and as large bodies as a server takes, refused `rounds` times each. Returns the maxima in seconds."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, max(rows // 20, 100), DAYS, views=1)
        with running(_serve, home) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
            over = threading.Event()
            threading.Timer(QUERY_SECONDS, over.set).start()
            rest = _polled(client, over)
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe(duplex=False)
            # In a process of their own, so that these clients keep the one that polls from nothing but the processors.
            pressing = context.Process(target=_press, args=(url, rounds, there))
            pressing.start()
            here.recv()
            over = threading.Event()
            threading.Thread(target=_end, args=(pressing, over)).start()
            pressed = _polled(client, over)
            answers = here.recv()
    table = Table("", "at rest, ms", "pressed, ms", "95th percentile, ms", "most, ms", title_justify="left")
    table.title = (
        f"while {AT_ONCE} endless queries and large bodies are refused: {', '.join(f'{n} x {kind}' for kind, n in answers.items())}"
    )
    for name in PROBES:
        found = sorted(pressed[name])
        told = (statistics.median(rest[name]), statistics.median(found), found[len(found) * 19 // 20], found[-1])
        table.add_row(name, *(f"{1000 * one:.1f}" for one in told))
    console.print(table)
    return {name: max(pressed[name]) for name in PROBES}


def _polled(client: httpx.Client, over: threading.Event) -> dict[str, list[float]]:
    """The seconds of each probe, asked in turns until it is over."""
    taken: dict[str, list[float]] = {name: [] for name in PROBES}
    while not over.is_set():
        for name, (method, path, body) in PROBES.items():
            taken[name].append(seconds(lambda: client.request(method, path, json=body).raise_for_status()))  # noqa: B023 - called at once
        over.wait(EVERY_SECONDS)
    return taken


def _end(pressing: Any, over: threading.Event) -> None:
    pressing.join()
    over.set()


def _press(url: str, rounds: int, told: Any) -> None:
    """Ask for what has no end, and send large bodies; then tell how often which answer came."""
    begin = b'{"service": "few", "timestamp": "asked_at", "spine": {"rows": ['
    large = begin + b'{"key": 1, "wrong": 2}, ' * (BODY_BYTES // 24 - 10) + b"{}]}}"
    answers: Counter[str] = Counter()

    def endless(number: int) -> None:
        spine = {"sql": ENDLESS[number % len(ENDLESS)]}
        answers[_kind(client.post("/v1/point-in-time", json={"service": "few", "timestamp": "asked_at", "spine": spine}))] += 1

    def bodies(number: int) -> None:
        for path in ("/v1/point-in-time", "/v1/services/few/online"):
            answers[_kind(client.post(path, content=large, headers={"content-type": "application/json"}))] += 1

    with (
        httpx.Client(base_url=url, timeout=600, limits=httpx.Limits(max_connections=None)) as client,
        ThreadPoolExecutor(AT_ONCE + 1) as pool,
    ):
        told.send(None)
        for _ in range(rounds):
            work = [*(pool.submit(endless, number) for number in range(AT_ONCE)), pool.submit(bodies, 0)]
            for one in work:
                one.result()
    told.send(dict(answers))


def _kind(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['type']}" if answer.is_error else str(answer.status_code)


def _serve(home: Path, announce: Callable[[str], None]) -> None:
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home / "store", port=0, query_seconds=QUERY_SECONDS), announce)
