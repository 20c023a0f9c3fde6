"""The point-in-time join of what does not fit the memory it is given, against the wide ASOF join in DuckDB with the same limit."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.alone import Cost, alone
from benchmarks.join import DAYS, FEATURES, VIEWS, by_duckdb, by_polars, given_views
from featurestore import FeatureStore, Settings

LIMIT = "2GB"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Ten times the rows of `join`, each work in a process of its own. Returns the seconds against those of DuckDB."""
    rows *= 10
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, rows // 20, DAYS)
        works = {
            "DuckDB ASOF": partial(by_duckdb, home, memory_limit=LIMIT),
            "featurestore join": partial(_join, home),
            "polars join_asof, no limit": partial(by_polars, home),
        }
        title = f"join {VIEWS} views of {rows:,} rows x {FEATURES}, spine {rows // 2:,}, memory_limit={LIMIT}"
        table = Table("", "seconds", "against DuckDB", "peak, GB", title=title, title_justify="left")
        costs: dict[str, list[Cost]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                costs[name].append(alone(work))
        least = {name: min(cost.seconds for cost in found) for name, found in costs.items()}
        ratios = {name: took / least["DuckDB ASOF"] for name, took in least.items()}
        for name, found in costs.items():
            table.add_row(name, f"{least[name]:.1f}", f"{ratios[name]:.2f}", f"{max(cost.peak for cost in found):.2f}")
        console.print(table)
        return ratios


def _join(home: Path) -> None:
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        store.point_in_time("endless", pq.read_table(home / "spine.parquet"), "asked_at")
