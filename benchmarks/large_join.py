"""The point-in-time join of what does not fit the memory it is given, against DuckDB with the same limit and against enough memory."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import Cost, alone
from benchmarks.join import DAYS, FEATURES, VIEWS, by_duckdb, by_polars, given_views
from featurestore import FeatureStore, Settings

LIMIT = "2GB"
ENOUGH = "64GB"
SIZES = (4, 8, 16)
"""Of the views around the cliff, times the rows: the sort of the largest does not fit in memory."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Ten times the rows of `join`, each work in a process of its own; then the same join around the size that fits in memory.

    Returns the seconds against those of DuckDB, and CPU time against that with enough memory, and of a row against that of the smallest.
    """
    return _against_duckdb(console, rows * 10, rounds) | _around_the_cliff(console, rows, rounds)


def _against_duckdb(console: Console, rows: int, rounds: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, rows // 20, DAYS)
        works = {
            "DuckDB ASOF": partial(by_duckdb, home, memory_limit=LIMIT),
            "featurestore join": partial(_join, home, "spine", LIMIT),
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


def _around_the_cliff(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Views of more and more rows, and spines of a twentieth of as many, so that the cost of a row should stay the same."""
    title = f"join {VIEWS} views x {FEATURES}, memory_limit={LIMIT}"
    table = Table("rows", "seconds", "CPU time", f"against {ENOUGH}", "of a row", "peak, GB", title=title, title_justify="left")
    ratios: dict[str, float] = {}
    smallest = 0.0
    for size in (rows * times for times in SIZES):
        with TemporaryDirectory() as folder:
            home = Path(folder)
            given_views(home, size, size // 20, DAYS)
            pq.write_table(data.spine(size // 20, size // 20, DAYS), home / "few.parquet")
            costs: dict[str, list[Cost]] = {LIMIT: [], ENOUGH: []}
            for _ in range(rounds):
                for limit, measured in costs.items():
                    measured.append(alone(partial(_join, home, "few", limit)))
        took, enough = (min(cost.processors for cost in costs[limit]) for limit in (LIMIT, ENOUGH))
        smallest = smallest or took / size
        ratios |= {f"{size:,} rows, against enough": took / enough, f"{size:,} rows, of a row": took / size / smallest}
        seconds, peak = min(cost.seconds for cost in costs[LIMIT]), max(cost.peak for cost in costs[LIMIT])
        figures = (f"{seconds:.1f}", f"{took:.1f}", f"{took / enough:.2f}", f"{took / size / smallest:.2f}", f"{peak:.2f}")
        table.add_row(f"{size:,}", *figures)
    console.print(table)
    return ratios


def _join(home: Path, spine: str, limit: str) -> None:
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=limit)) as store:
        store.point_in_time("endless", pq.read_table(home / f"{spine}.parquet"), "asked_at")
