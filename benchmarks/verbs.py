"""Verbs on a small shop, against making one of its tables with pyiceberg, appending to it and reading it."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from featurestore import FeatureStore
from tests import shop

VERBS: dict[str, Callable[[FeatureStore], object]] = {
    "plan": lambda store: store.plan(shop.DEFINITIONS),
    "apply": lambda store: store.apply(shop.DEFINITIONS),
    "materialize": lambda store: store.materialize(),
    "materialize again": lambda store: store.materialize(),
    "training set": lambda store: store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned"),
}
BARE = "pyiceberg"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Each verb once in a new home folder, `rounds` times; the number of rows is the shop's. Returns ratios of medians."""
    taken: dict[str, list[float]] = {name: [] for name in (BARE, *VERBS)}
    for round_ in range(rounds + 1):
        with TemporaryDirectory() as folder, FeatureStore(home=Path(folder)) as store:
            shop.add(store, "shop.orders", shop.order_rows())
            shop.add(store, "shop.profiles", shop.profile_rows())
            for name, verb in ((BARE, _use_pyiceberg), *VERBS.items()):
                began = time.perf_counter()
                verb(store)
                if round_:
                    taken[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    table = Table("", "ms", f"against {BARE}", title="verbs on a small shop", title_justify="left")
    for name, seconds in medians.items():
        table.add_row(name, f"{seconds * 1000:.0f}", f"{seconds / medians[BARE]:.2f}")
    console.print(table)
    return {name: seconds / medians[BARE] for name, seconds in medians.items()}


def _use_pyiceberg(store: FeatureStore) -> None:
    rows = shop.order_rows()
    table = store.catalog.create_table("shop.bare", schema=rows.schema)
    table.append(rows)
    store.catalog.load_table("shop.bare").scan().to_arrow()
