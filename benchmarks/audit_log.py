"""Online lookups of a server with an audit log, against the same server without it, in turns: processor time and the client's median.

Each server keeps what it looks up. The log is flushed once at the end, and the processor time of an entry in that is given apart.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, given_views
from benchmarks.online import Case, Cost, make_bodies, measure_cost
from benchmarks.online_servers import two_cores
from benchmarks.servers import running
from featurestore import FeatureStore, Settings
from featurestore.audit_log.flush import Flusher

LOGS = ("off", "on", "fsync")
CASES = {"1 key": Case("endless", 1), "10 keys": Case("endless", 10), "100 keys": Case("endless", 100)}


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys. Returns the ratios of the client's medians, and of processor time."""
    keys = max(rows // 20, 100)
    with TemporaryDirectory() as folder, two_cores() as (server, client):
        home = Path(folder) / "store"
        given_views(Path(folder), rows, keys, DAYS)
        os.sched_setaffinity(0, client)
        costs: dict[str, dict[str, list[Cost]]] = {name: {log: [] for log in LOGS} for name in CASES}
        with ExitStack() as stack:
            servers = {log: stack.enter_context(running(_serve, home, log, server)) for log in LOGS}
            for counted in range(rounds + 1):
                for name, case in CASES.items():
                    bodies = list(make_bodies(case, keys))
                    # In another order each time: what runs first after a pause is slower.
                    for place in range(len(LOGS)):
                        log = LOGS[(place + counted) % len(LOGS)]
                        cost = measure_cost(servers[log], case, bodies)
                        if counted:
                            costs[name][log].append(cost)
            flushed = _flush(home)
    console.print(f"flush: {flushed * 1e6:.1f} us of processor time for each entry")
    return _report(console, costs)


def _serve(home: Path, log: str, cores: set[int], announce: Callable[[str], None]) -> None:
    os.sched_setaffinity(0, cores)
    # uvicorn would hand its number to processes, which do not have it.
    sys.stdin = None
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home, port=0, audit_log=log, audit_log_seconds=3600), announce)


def _flush(home: Path) -> float:
    """The processor seconds of an entry when all are written to the table."""
    with FeatureStore(home=home) as store:
        began = time.process_time()
        return (rows := Flusher(store.backend.runtime).flush()) and (time.process_time() - began) / rows


def _report(console: Console, costs: Mapping[str, Mapping[str, list[Cost]]]) -> dict[str, float]:
    table = Table("", "audit log", "processor, us", "ratio", "p50, us", "ratio", title="30 features over 3 views from LMDB, over HTTP")
    ratios: dict[str, float] = {}
    for name, by_log in costs.items():
        for log, rounds in by_log.items():
            pairs = list(zip(rounds, by_log["off"], strict=True))
            processor = statistics.median(one.processor / off.processor for one, off in pairs)
            p50 = statistics.median(one.p50 / off.p50 for one, off in pairs)
            spent, waited = (statistics.median(values) * 1e6 for values in zip(*rounds, strict=True))
            table.add_row(name, log, f"{spent:.0f}", f"{processor:.3f}", f"{waited:.0f}", f"{p50:.3f}")
            if log != "off":
                ratios[f"{name}, {log}, p50"], ratios[f"{name}, {log}, processor"] = p50, processor
    console.print(table)
    return ratios
