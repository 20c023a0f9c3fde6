"""Two web processes of a server against one, at lookups from LMDB over HTTP.

One process has a core to itself and the client has the other. Two processes share both cores with the client, so its processor time is
taken off: had it not run, the requests would have taken (2 x seconds - client's seconds) / 2. That is what a client elsewhere would see,
if the cores have nothing else to do. The client keeps CONNECTIONS requests under way, so that no process waits for it.
"""

import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.http_client import Load, load
from benchmarks.join import DAYS, given_views
from benchmarks.online import Case, make_bodies
from benchmarks.online_servers import serve_store, two_cores
from benchmarks.servers import running

CONNECTIONS = 16
CASES = {"1 key": (Case("endless", 1), 10_000), "100 keys": (Case("endless", 100), 3000)}
"""The requests, and how many of them make a round."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys. Returns requests a second of two processes against one."""
    keys = max(rows // 20, 100)
    table = Table(
        "", "one, requests a second", "two", "two, as measured", "ratio", title="two web processes against one", title_justify="left"
    )
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder, two_cores() as (server, client):
        home = Path(folder)
        given_views(home, rows, keys, DAYS)
        with (
            running(serve_store, home / "store", None, 1, server) as one,
            running(serve_store, home / "store", None, 2, server | client) as two,
        ):
            for name, (case, count) in CASES.items():
                bodies = list(make_bodies(case, keys))
                measured = []
                for _ in range(rounds + 1):
                    os.sched_setaffinity(0, client)
                    alone = load(one.url, case.path, bodies, CONNECTIONS, count)
                    os.sched_setaffinity(0, server | client)
                    measured.append((alone, load(two.url, case.path, bodies, CONNECTIONS, count)))
                ratios[name] = statistics.median(_without_client(both) / (alone.requests / alone.seconds) for alone, both in measured[1:])
                figures = (
                    statistics.median(alone.requests / alone.seconds for alone, _ in measured[1:]),
                    statistics.median(_without_client(both) for _, both in measured[1:]),
                    statistics.median(both.requests / both.seconds for _, both in measured[1:]),
                )
                table.add_row(name, *(f"{figure:,.0f}" for figure in figures), f"{ratios[name]:.2f}")
    console.print(table)
    return ratios


def _without_client(measured: Load) -> float:
    """Requests a second on two cores, if the client had taken no time of them."""
    return measured.requests / (measured.seconds - measured.client / 2)
