"""The point-in-time join against a wide ASOF join in DuckDB and polars' join_asof, from the same rows to Arrow in memory."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks import data
from benchmarks.timing import in_turns, show
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source

VIEWS = 3
FEATURES = 10
DAYS = 90
TTL = "7d"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Three views of `rows` rows and ten features, a spine of half as many rows, without a ttl and with one of a week."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        spine = given_views(home, rows, max(rows // 20, 1), DAYS)
        ratios: dict[str, float] = {}
        with FeatureStore(home=home / "store") as store:
            for service, ttl in (("endless", None), ("week", TTL)):
                taken = in_turns(
                    [
                        ("DuckDB ASOF", partial(by_duckdb, home, ttl)),
                        ("polars join_asof", partial(by_polars, home, ttl)),
                        ("featurestore join", partial(store.point_in_time, service, spine, "asked_at")),
                    ],
                    rounds,
                )
                title = f"join {VIEWS} views of {rows:,} rows x {FEATURES}, spine {rows // 2:,}, ttl {ttl or 'none'}"
                ratios |= {f"{name}, {service}": ratio for name, ratio in show(console, title, taken, "DuckDB ASOF").items()}
        return ratios


def given_views(home: Path, rows: int, keys: int, days: int, start: int = data.START, views: int = VIEWS) -> pa.Table:
    """A store in `home`; returns a spine for its services `endless` and `week`, of views without and with a ttl of a week, `few`, of three
    features of the first, and `ratio`, of all features of `endless` and a derived one.

    The rows of each view, and the spine, also lie as files beside it.
    """
    with FeatureStore(home=home / "store") as store:
        services = add_sources(store, home, rows, keys, days, start, views)
        store.apply(services)
        store.materialize()
    return pq.read_table(home / "spine.parquet")


def add_sources(
    store: FeatureStore, home: Path, rows: int, keys: int, days: int, start: int = data.START, views: int = VIEWS
) -> list[FeatureService]:
    """Fill the sources of a store, and write them and the spine as files to `home`; returns the services of `given_views`."""
    store.catalog.create_namespace("raw")
    endless, week = [], []
    for seed in range(views):
        table = data.readings(rows, keys, FEATURES, days, seed, start)
        pq.write_table(table, home / f"view{seed}.parquet", compression="zstd", row_group_size=131_072)
        store.catalog.create_table(f"raw.view{seed}", schema=table.schema).append(table)
        source = Source(f"view{seed}", table=f"raw.view{seed}", timestamp="event_time")
        features = [name for name in table.schema.names if name.startswith("r")]
        thing = Entity("thing", keys="key")
        endless.append(FeatureView(f"view{seed}", entity=thing, source=source, features=features))
        week.append(FeatureView(f"week{seed}", entity=thing, source=source, features=features, ttl=TTL))
    pq.write_table(data.spine(rows // 2, keys, days, start=start), home / "spine.parquet")
    few = FeatureService("few", features=[endless[0]["r0_f0", "r0_f1", "r0_f2"]])
    ratio = FeatureService("ratio", features=endless, derived={"ratio": "r0_f0 / (1 + abs(r0_f1))"})
    return [FeatureService("endless", features=endless), FeatureService("week", features=week), few, ratio]


def by_duckdb(home: Path, ttl: str | None = None, **config: str) -> pa.Table:
    """One query with an ASOF join for each view."""
    joins = " ".join(
        f"ASOF LEFT JOIN read_parquet('{home / f'view{seed}.parquet'}') v{seed} ON s.key = v{seed}.key AND s.asked_at >= v{seed}.event_time"
        for seed in range(VIEWS)
    )
    names = [(seed, f"v{seed}.r{seed}_f{column}") for seed in range(VIEWS) for column in range(FEATURES)]
    fresh = "CASE WHEN s.asked_at - v{}.event_time <= INTERVAL 7 DAY THEN {} END"
    columns = ", ".join(fresh.format(seed, name) if ttl else name for seed, name in names)
    with duckdb.connect(config={"temp_directory": str(home / "spill"), **config}) as connection:
        connection.execute("SET enable_progress_bar = false")
        return connection.sql(f"SELECT s.*, {columns} FROM read_parquet('{home / 'spine.parquet'}') s {joins}").to_arrow_table()


def by_polars(home: Path, ttl: str | None = None) -> pa.Table:
    """One join_asof for each view; both sides sorted by time, as it demands."""
    result = pl.read_parquet(home / "spine.parquet").sort("asked_at")
    for seed in range(VIEWS):
        right = pl.read_parquet(home / f"view{seed}.parquet").sort("event_time")
        joined = result.join_asof(right, left_on="asked_at", right_on="event_time", by="key", tolerance=ttl, check_sortedness=False)
        result = joined.drop("event_time")
    return result.to_arrow()
