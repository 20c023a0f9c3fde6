"""Materializing a view of plain rows, against DuckDB's COPY of the same rows in the same order."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks import data
from benchmarks.timing import in_turns, show
from featurestore import Entity, FeatureStore, FeatureView, Source

COLUMNS = 10


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Ten columns, 200 rows a key: planning, looking for rows of one moment, sorting, writing, appending, publishing online."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        table = data.readings(rows, rows // 200, COLUMNS, 147, seed=1)
        pq.write_table(table, home / "rows.parquet", compression="zstd", row_group_size=131_072)
        store = FeatureStore(home=home / "store")
        store.catalog.create_namespace("raw")
        store.catalog.create_table("raw.rows", schema=table.schema).append(table)
        features = [name for name in table.column_names if name not in ("key", "event_time")]
        del table
        taken = in_turns(
            [("COPY, sorted", lambda: by_hand(home)), ("featurestore", lambda: materialize(store, home, features))], rounds, warm_up=False
        )
        return show(console, f"a view of {rows:,} rows of {COLUMNS} columns", taken, "COPY, sorted")


def by_hand(home: Path) -> None:
    """The rows sorted by key and time, from Parquet to Parquet."""
    with duckdb.connect(config={"temp_directory": str(home / "spill")}) as connection:
        rows = f"SELECT * FROM read_parquet('{home / 'rows.parquet'}') ORDER BY key, event_time"
        connection.execute(f"COPY ({rows}) TO '{home / 'sorted.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def materialize(store: FeatureStore, home: Path, features: list[str]) -> None:
    """From nothing: the view is made anew, with an online store that is empty."""
    for name in ("features.readings_v1", "registry.definitions"):
        if store.catalog.table_exists(name):
            store.catalog.drop_table(name)
    store.close()
    shutil.rmtree(home / "store" / "online", ignore_errors=True)
    source = Source("rows", table="raw.rows", timestamp="event_time")
    store.apply([FeatureView("readings", Entity("thing", keys="key"), source, features)])
    store.materialize()
