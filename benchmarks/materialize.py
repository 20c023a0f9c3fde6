"""Materialization against hand-written DuckDB SQL that computes the same rows from Parquet and copies them to Parquet."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks import data
from benchmarks.timing import in_turns, seconds, show
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg

WINDOWS = (1, 7, 90)
DAYS = 147


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """count, sum, mean and max over 1, 7 and 90 days on a daily grid, 200 events a key: all of it, again, and one more day."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        store, daily = (given_events(home / name, rows) for name in ("store", "daily"))
        taken = in_turns(
            [("hand-written SQL", lambda: by_hand(home)), ("featurestore", lambda: materialize(store, home / "store"))],
            rounds,
            warm_up=False,
        )
        taken["featurestore, unchanged"] = [seconds(store.materialize) for _ in range(rounds)]
        materialize(daily, home / "daily", end(0))
        taken["featurestore, next day"] = [next_day(daily, rows, day) for day in range(rounds)]
        return show(console, f"materialize {rows:,} events", taken, "hand-written SQL")


def given_events(home: Path, rows: int, **more: Any) -> FeatureStore:
    """A store whose source table has the events; they also lie as a file beside it."""
    table = data.events(rows, rows // 200, DAYS)
    home.mkdir(parents=True)
    pq.write_table(table, home.parent / "events.parquet", compression="zstd", row_group_size=131_072)
    store = FeatureStore(settings=Settings(home=home, **more))
    store.catalog.create_namespace("raw")
    store.catalog.create_table("raw.events", schema=table.schema).append(table)
    return store


def end(day: int) -> datetime:
    """The end of the events, or of a day after them."""
    return datetime.fromtimestamp((data.START + (DAYS + day) * data.DAY) / 1e6, UTC)


def next_day(store: FeatureStore, rows: int, day: int) -> float:
    """How long a day more takes."""
    more = data.events(rows // DAYS, rows // 200, 1, seed=day, start=data.START + (DAYS + day) * data.DAY)
    store.catalog.load_table("raw.events").append(more)
    return seconds(lambda: store.materialize(end=end(day + 1)))


def materialize(store: FeatureStore, home: Path, until: datetime | None = None) -> None:
    """From nothing: the view is made anew, with an online store that is empty."""
    for name in store.catalog.list_tables("features") if store.catalog.namespace_exists("features") else ():
        store.catalog.drop_table(name)
    if store.catalog.table_exists("registry.definitions"):
        store.catalog.drop_table("registry.definitions")
    store.close()
    shutil.rmtree(home / "online", ignore_errors=True)
    over = [f"{days}d" for days in WINDOWS]
    view = FeatureView(
        "activity",
        entity=Entity("thing", keys="key"),
        source=Source("events", table="raw.events", timestamp="event_time"),
        every="1d",
        features={
            "n": agg.count(over=over),
            "total": agg.sum("value", over=over),
            "mean": agg.mean("value", over=over),
            "top": agg.max("value", over=over),
        },
    )
    store.apply([FeatureService("activity", features=[view])])
    store.materialize(end=until)


def by_hand(home: Path, **config: str) -> None:
    """Tiles of a day, points where a value can change, and RANGE windows: what one would write without a feature store."""
    step = data.DAY
    tile = f"(epoch_us(event_time) // {step} + 1) * {step}"
    columns = ", ".join(
        f"sum(n) OVER w{days}, sum(s) OVER w{days}, sum(s) OVER w{days} / sum(n) OVER w{days}, max(m) OVER w{days}" for days in WINDOWS
    )
    windows = ", ".join(f"w{days} AS (PARTITION BY key ORDER BY g RANGE {(days - 1) * step} PRECEDING)" for days in WINDOWS)
    shifts = " UNION ALL ".join(f"SELECT key, g + {days * step} AS g FROM tiles" for days in (0, *WINDOWS))
    with duckdb.connect(config={"temp_directory": str(home / "spill"), **config}) as connection:
        connection.execute("SET enable_progress_bar = false")
        source = f"read_parquet('{home / 'events.parquet'}')"
        folded = f"SELECT key, {tile} AS g, count(*) AS n, sum(value) AS s, max(value) AS m FROM {source} GROUP BY ALL"
        connection.execute(f"CREATE TEMP TABLE tiles AS {folded}")
        connection.execute(f"CREATE TEMP TABLE points AS SELECT DISTINCT key, g FROM ({shifts})")
        rows = f"SELECT key, make_timestamptz(g), {columns} FROM points LEFT JOIN tiles USING (key, g) WINDOW {windows}"
        connection.execute(f"COPY ({rows}) TO '{home / 'by-hand.parquet'}' (FORMAT parquet, COMPRESSION zstd)")
