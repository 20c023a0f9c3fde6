"""A training set for a spine that is larger than the memory it is given, against DuckDB's COPY of the ASOF join with the same limit."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import alone
from benchmarks.join import DAYS, given_views
from featurestore import FeatureStore, Settings

LIMIT = "2GB"
FILES = 10
FEATURES = 3
TIMES = 50
"""The spine has so many times the rows of the view."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """A spine in Parquet files, joined with three features of a view, stored as a training set or as a file. Returns the peaks in GB."""
    keys = max(rows // 20, 1)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_views(home, rows, keys, DAYS, views=1)
        (home / "spine").mkdir()
        for number in range(FILES):
            spine = data.spine(TIMES * rows // FILES, keys, DAYS, seed=number)
            pq.write_table(spine, home / "spine" / f"{number}.parquet", compression="zstd")
            del spine
        title = f"training set of {TIMES * rows:,} rows x {FEATURES} features, memory_limit={LIMIT}"
        table = Table("", "seconds", "peak, GB", title=title, title_justify="left")
        peaks: dict[str, float] = {}
        for name, work in (("DuckDB ASOF and COPY", partial(_by_hand, home)), ("featurestore", partial(_training_set, home))):
            costs = [alone(work) for _ in range(rounds)]
            peaks[name] = max(cost.peak for cost in costs)
            table.add_row(name, f"{min(cost.seconds for cost in costs):.1f}", f"{peaks[name]:.2f}")
        console.print(table)
        return peaks


def _by_hand(home: Path) -> None:
    columns = ", ".join(f"v.r0_f{column}" for column in range(FEATURES))
    view, spine = (f"read_parquet('{home / name}')" for name in ("view0.parquet", "spine/*.parquet"))
    joined = f"SELECT s.*, {columns} FROM {spine} s ASOF LEFT JOIN {view} v ON s.key = v.key AND s.asked_at >= v.event_time"
    with duckdb.connect(config={"temp_directory": str(home / "spill"), "memory_limit": LIMIT}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"COPY ({joined}) TO '{home / 'joined.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def _training_set(home: Path) -> None:
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        made = store.training_set("few", spine=str(home / "spine" / "*.parquet"), timestamp="asked_at", name="long")
        # A second round would find it made.
        store.catalog.drop_table(f"training_sets.{made.name}")
