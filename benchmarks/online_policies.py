"""Online lookups under a mask and a filter on each view, against the same lookups of a principal under no policy, in turns: processor time
of the server and the client's median. All principals ask one server.
"""

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, VIEWS, given_views
from benchmarks.online import Case, Cost, make_bodies, measure_cost
from benchmarks.online_servers import two_cores
from benchmarks.servers import running
from featurestore import FeatureStore, Mask, RowFilter, Settings, TablePolicy

PRINCIPALS = ("granted", "administrator", "under policies")
CASES = {"1 key": Case("endless", 1), "10 keys": Case("endless", 10), "100 keys": Case("endless", 100)}
CACHES = {"kept entities": "64MB", "nothing kept": "0"}


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """30 features over 3 views of `rows / 20` keys. Returns the ratios of processor time and of the client's medians."""
    keys = max(rows // 20, 100)
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder, two_cores() as (server, client):
        home = Path(folder) / "store"
        given_views(Path(folder), rows, keys, DAYS)
        tokens = _restrict(home)
        os.sched_setaffinity(0, client)
        for cache, size in CACHES.items():
            costs: dict[str, dict[str, list[Cost]]] = {name: {who: [] for who in PRINCIPALS} for name in CASES}
            with ExitStack() as stack:
                served = stack.enter_context(running(_serve, home, size, server))
                for counted in range(rounds + 1):
                    for name, case in CASES.items():
                        bodies = list(make_bodies(case, keys))
                        # In another order each time: what runs first after a pause is slower.
                        for place in range(len(PRINCIPALS)):
                            who = PRINCIPALS[(place + counted) % len(PRINCIPALS)]
                            cost = measure_cost(served, case, bodies, tokens[who])
                            if counted:
                                costs[name][who].append(cost)
            ratios |= _report(console, cache, costs)
    return ratios


def _restrict(home: Path) -> dict[str, str]:
    """Apply the policies; returns the tokens of the principals."""
    with FeatureStore(home=home) as store:
        policies = [
            TablePolicy(
                f"view{view}",
                masks={f"r{view}_f0": Mask(f"r{view}_f0 * 2", unless=["free"])},
                rows=RowFilter(f"r{view}_f1 > -1000", unless=["free"]),
            )
            for view in range(VIEWS)
        ]
        store.apply(policies)
        for group in ("free", "ruled"):
            store.grant("READ_ONLINE", "SERVICE endless", f"GROUP {group}")
        return {
            "granted": store.create_key("granted", ["free"]).token,
            "administrator": store.create_key("administrator", administrator=True).token,
            "under policies": store.create_key("ruled", ["ruled"]).token,
        }


def _serve(home: Path, cache: str, cores: set[int], announce: Callable[[str], None]) -> None:
    os.sched_setaffinity(0, cores)
    # uvicorn would hand its number to processes, which do not have it.
    sys.stdin = None
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home, port=0, lookup_cache=cache), announce)


def _report(console: Console, cache: str, costs: Mapping[str, Mapping[str, list[Cost]]]) -> dict[str, float]:
    table = Table("", "", "processor, us", "ratio", "p50, us", "ratio", title=f"30 features over 3 views from LMDB, {cache}")
    ratios: dict[str, float] = {}
    for name, by_principal in costs.items():
        for who, rounds in by_principal.items():
            pairs = list(zip(rounds, by_principal["granted"], strict=True))
            processor = statistics.median(one.processor / other.processor for one, other in pairs)
            p50 = statistics.median(one.p50 / other.p50 for one, other in pairs)
            spent, waited = (statistics.median(values) * 1e6 for values in zip(*rounds, strict=True))
            table.add_row(name, who, f"{spent:.0f}", f"{processor:.3f}", f"{waited:.0f}", f"{p50:.3f}")
            if who != "granted":
                ratios[f"{name}, {who}, {cache}, processor"], ratios[f"{name}, {who}, {cache}, p50"] = processor, p50
    console.print(table)
    return ratios
