"""What a training set costs beyond its join: rows stored, tagged, digested and measured, against a bare write of the same rows."""

import itertools
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, FEATURES, VIEWS, given_views
from benchmarks.timing import Work
from featurestore import FeatureStore
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.measures import in_memory

BARE = "bare write by pyarrow, zstd"
JOIN = "join alone"
STORED = "training set"
BEYOND = "training set less join"

Cost = tuple[float, float]
"""Seconds by the clock, and of processors."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """The data of `join`. Returns the ratios by the clock."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        spine = given_views(home, rows, max(rows // 20, 1), DAYS)
        store = FeatureStore(home=home / "store")
        names = (f"set{number}" for number in itertools.count())
        joined = store.point_in_time("endless", spine, "asked_at")
        works: dict[str, Work] = {
            BARE: lambda: pq.write_table(joined, home / "bare.parquet", compression="zstd", row_group_size=131_072),
            "bare write by DuckDB, zstd": lambda: _by_duckdb(joined, home),
            JOIN: lambda: store.point_in_time("endless", spine, "asked_at"),
            STORED: lambda: store.training_set("endless", spine, "asked_at", label="label", name=next(names)),
            "its digest, in one thread": lambda: table_digest(joined),
            "its statistics, in one thread": lambda: [in_memory(column) for column in joined.columns[2:]],
        }
        taken: dict[str, list[Cost]] = {name: [] for name in works}
        for round_ in range(rounds + 1):
            for name, work in works.items():
                cost = _cost(work)
                if round_:
                    taken[name].append(cost)
        taken[BEYOND] = [(a - c, b - d) for (a, b), (c, d) in zip(taken[STORED], taken[JOIN], strict=True)]
        return _show(console, f"store {rows // 2:,} rows x {VIEWS * FEATURES} features", taken)


def _by_duckdb(rows: pa.Table, home: Path) -> None:
    with duckdb.connect() as connection:
        connection.register("joined", rows)
        options = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 131072"
        connection.execute(f"COPY joined TO '{home / 'bare.parquet'}' ({options})").fetchall()


def _cost(work: Work) -> Cost:
    clock, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processors


def _show(console: Console, title: str, taken: dict[str, list[Cost]]) -> dict[str, float]:
    """Medians, and medians of the ratios of each round."""
    table = Table("", "seconds", "of processors", f"against {BARE}", "of processors", title=title, title_justify="left")
    ratios: dict[str, float] = {}
    for name, costs in taken.items():
        clock, processors = (statistics.median(one[of] / bare[of] for one, bare in zip(costs, taken[BARE], strict=True)) for of in (0, 1))
        ratios[name] = clock
        seconds = [statistics.median(one[of] for one in costs) for of in (0, 1)]
        table.add_row(name, f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{clock:.2f}", f"{processors:.2f}")
    console.print(table)
    return ratios
