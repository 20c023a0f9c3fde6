"""What a training set costs by the number of its columns, each size in a process of its own."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import alone
from benchmarks.join import DAYS
from benchmarks.nested_services import fill_nested
from featurestore import FeatureStore, Settings

VIEWS = (3, 10, 30)
FEATURES = 20
LIMIT = "2GB"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Training sets of 60, 200 and 600 features, with a 25th and a 16th of `rows` rows: the widest one fits in memory, or does not.

    Returns the CPU time per million cells against that of the narrowest set.
    """
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        sizes = [rows // 25, rows // 16]
        given_views(home, rows // 20, sizes)
        title = f"training set of views of {FEATURES} features, memory_limit={LIMIT}"
        table = Table(
            "rows",
            "features",
            "seconds",
            "CPU time",
            "per million cells",
            "against the narrowest",
            "peak, GB",
            title=title,
            title_justify="left",
        )
        for size in sizes:
            narrowest = 0.0
            for views in VIEWS:
                costs = [
                    alone(partial(build, home, size, views, f"set{size}_{views}_{round_}"), partial(warm_up, home))
                    for round_ in range(rounds)
                ]
                seconds, processors = (min(getattr(cost, name) for cost in costs) for name in ("seconds", "processors"))
                each = processors / (size * views * FEATURES / 1e6)
                narrowest = narrowest or each
                ratios[f"{size:,} x {views * FEATURES}"] = each / narrowest
                peak = max(cost.peak for cost in costs)
                figures = (f"{seconds:.2f}", f"{processors:.2f}", f"{each:.3f}", f"{each / narrowest:.2f}", f"{peak:.2f}")
                table.add_row(f"{size:,}", str(views * FEATURES), *figures)
        console.print(table)
    return ratios


def given_views(home: Path, rows: int, sizes: list[int]) -> None:
    """A store with services `of3`, `of10` and `of30`, and spines of these sizes as files."""
    fill_nested(home, rows, FEATURES, VIEWS)
    for size in sizes:
        pq.write_table(data.spine(size, max(rows // 20, 1), DAYS), home / f"spine{size}.parquet")


def build(home: Path, size: int, views: int, name: str) -> None:
    """A training set of so many views and the spine of this size."""
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        store.training_set(f"of{views}", str(home / f"spine{size}.parquet"), "asked_at", label="label", name=name)


def warm_up(home: Path) -> None:
    """A training set of a row, for what a process does once."""
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        store.training_set("of3", data.spine(1, 1, DAYS), "asked_at", label="label", name="warm")
