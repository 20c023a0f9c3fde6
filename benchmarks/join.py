"""The point-in-time join against a wide ASOF join in DuckDB and polars' join_asof, from the same rows to Arrow in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks import data
from benchmarks.timing import in_turns, show
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source

VIEWS = 3
FEATURES = 10
DAYS = 90


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Three views of `rows` rows and ten features, a spine of half as many rows, no ttl."""
    keys = max(rows // 20, 1)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        store = FeatureStore(home=home / "store")
        store.catalog.create_namespace("raw")
        views = []
        for seed in range(VIEWS):
            table = data.readings(rows, keys, FEATURES, DAYS, seed)
            pq.write_table(table, home / f"view{seed}.parquet", compression="zstd", row_group_size=131_072)
            store.catalog.create_table(f"raw.view{seed}", schema=table.schema).append(table)
            source = Source(f"view{seed}", table=f"raw.view{seed}", timestamp="event_time")
            features = [name for name in table.schema.names if name.startswith("r")]
            views.append(FeatureView(f"view{seed}", entity=Entity("thing", keys="key"), source=source, features=features))
        spine = data.spine(rows // 2, keys, DAYS)
        pq.write_table(spine, home / "spine.parquet")
        store.apply([FeatureService("all", features=views)])
        store.materialize()
        taken = in_turns(
            [
                ("DuckDB ASOF", lambda: by_duckdb(home)),
                ("polars join_asof", lambda: by_polars(home)),
                ("featurestore join", lambda: store.point_in_time("all", spine, "asked_at")),
            ],
            rounds,
        )
        return show(console, f"join {VIEWS} views of {rows:,} rows x {FEATURES}, spine {rows // 2:,}", taken, "DuckDB ASOF")


def by_duckdb(home: Path) -> object:
    """One query with an ASOF join for each view."""
    joins = " ".join(
        f"ASOF LEFT JOIN read_parquet('{home / f'view{seed}.parquet'}') v{seed} ON s.key = v{seed}.key AND s.asked_at >= v{seed}.event_time"
        for seed in range(VIEWS)
    )
    columns = ", ".join(f"v{seed}.r{seed}_f{column}" for seed in range(VIEWS) for column in range(FEATURES))
    with duckdb.connect(config={"temp_directory": str(home / "spill")}) as connection:
        return connection.sql(f"SELECT s.*, {columns} FROM read_parquet('{home / 'spine.parquet'}') s {joins}").to_arrow_table()


def by_polars(home: Path) -> object:
    """One join_asof for each view; both sides sorted by time, as it demands."""
    result = pl.read_parquet(home / "spine.parquet").sort("asked_at")
    for seed in range(VIEWS):
        right = pl.read_parquet(home / f"view{seed}.parquet").sort("event_time")
        joined = result.join_asof(right, left_on="asked_at", right_on="event_time", by="key", check_sortedness=False)
        result = joined.drop("event_time")
    return result.to_arrow()
