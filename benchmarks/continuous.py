"""Windows that end at any instant, against bare DuckDB RANGE windows over the same events.

The shapes are those of FEBench's tasks Q0 (taxi trips of two vendors, windows of an hour and two) and Q1 (days of 133 provinces and 184
countries, seven windows), whose schemas and sizes are published, with made-up rows; and one of many keys with few events each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console

from benchmarks.timing import in_turns, processor_seconds, show
from featurestore import Entity, FeatureStore, FeatureView, Source, agg

BEGIN = "TIMESTAMPTZ '2020-01-22 00:00:00+00'"
END = datetime(2021, 1, 22, tzinfo=UTC)
DAY = 86_400
TRIPS, DAYS = 2.62, 3.54
"""Rows for each row of the option: with a million, the sizes of Q0 and Q1."""


@dataclass(frozen=True)
class Shape:
    """Events, made by a query, and the same windows of them as views (by entity) and as SQL."""

    title: str
    events: str
    time: str
    views: Mapping[str, Mapping[str, Any]]
    by_hand: str


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Each shape in turns: rows in memory by hand, and feature tables that are written and published. Returns ratios of CPU time."""
    return {shape.title: _compare(console, shape, rounds) for shape in shapes(rows)}


def shapes(rows: int) -> list[Shape]:
    """The shapes, of about so many events each."""
    return [_trips(int(TRIPS * rows)), _days(int(DAYS * rows)), _light(rows)]


def _trips(rows: int) -> Shape:
    events = f"""SELECT 1 + (random() < .5)::INT AS vendor_id, {BEGIN} + INTERVAL 1 SECOND * (i * 6)::BIGINT AS pickup_datetime,
        40 + random() AS pickup_latitude, 40 + random() AS dropoff_latitude, CASE WHEN random() < .01 THEN 'Y' ELSE 'N' END AS flag
        FROM range({rows}) t(i)"""
    sums = ", ".join(
        f"sum(pickup_latitude) OVER w{hours} AS a{hours}, sum(dropoff_latitude) OVER w{hours} AS b{hours},"
        f" count(*) FILTER (flag = 'N') OVER w{hours} AS c{hours}"
        for hours in (1, 2)
    )
    windows = ", ".join(_window(f"w{hours}", "vendor_id", "pickup_datetime", hours * 3600) for hours in (1, 2))
    over = ["1h", "2h"]
    features = {
        "pickup": agg.sum("pickup_latitude", over=over),
        "dropoff": agg.sum("dropoff_latitude", over=over),
        "n": agg.count(over=over, where="flag = 'N'"),
    }
    by_hand = f"SELECT vendor_id, {sums} FROM events WINDOW {windows}"
    return Shape(f"two heavy keys, {rows:,} events", events, "pickup_datetime", {"vendor_id": features}, by_hand)


def _days(rows: int) -> Shape:
    events = f"""SELECT 'p' || (i % 133) AS province, 'c' || (i % 184) AS country, {BEGIN} + INTERVAL 1 DAY * ((i // 46000)::INT) AS day,
        (random() * 50)::DOUBLE AS fatalities FROM range({rows}) t(i)"""
    selected = """min(fatalities) OVER p2 AS a, min(fatalities) OVER p7 AS b, min(fatalities) OVER c2 AS c, avg(fatalities) OVER p2 AS d,
        sum(fatalities) OVER p7 AS e, max(fatalities) OVER c5 AS f, max(fatalities) OVER c14 AS g, avg(fatalities) OVER c2 AS h,
        count(*) OVER p14 AS i, count(*) OVER p64 AS j"""
    spans = {"province": (2, 7, 14, 64), "country": (2, 5, 14)}
    windows = ", ".join(_window(f"{key[0]}{days}", key, "day", days * DAY) for key, spans_of_key in spans.items() for days in spans_of_key)
    views = {
        "province": {
            "least": agg.min("fatalities", over=["2d", "7d"]),
            "mean": agg.mean("fatalities", over="2d"),
            "total": agg.sum("fatalities", over="7d"),
            "n": agg.count(over=["14d", "64d"]),
        },
        "country": {
            "least": agg.min("fatalities", over="2d"),
            "greatest": agg.max("fatalities", over=["5d", "14d"]),
            "mean": agg.mean("fatalities", over="2d"),
        },
    }
    return Shape(f"days of 317 keys, {rows:,} events", events, "day", views, f"SELECT {selected} FROM events WINDOW {windows}")


def _light(rows: int) -> Shape:
    events = f"""SELECT hash(i) % {max(1, rows // 10)} AS card, {BEGIN} + INTERVAL 1 SECOND * (random() * {30 * DAY})::INT AS at,
        random() * 100 AS amount FROM range({rows}) t(i)"""
    windows = ", ".join(_window(f"w{days}", "card", "at", days * DAY) for days in (1, 7))
    selected = ", ".join(f"sum(amount) OVER w{days} AS s{days}, count(*) OVER w{days} AS n{days}" for days in (1, 7))
    features = {"spent": agg.sum("amount", over=["1d", "7d"]), "n": agg.count(over=["1d", "7d"])}
    return Shape(
        f"keys of ten events, {rows:,} events", events, "at", {"card": features}, f"SELECT card, {selected} FROM events WINDOW {windows}"
    )


def _window(name: str, key: str, time: str, seconds: int) -> str:
    """The events of the last so many seconds up to the row's own, as one would write it by hand."""
    return f'{name} AS (PARTITION BY {key} ORDER BY "{time}" RANGE BETWEEN INTERVAL {seconds - 1} SECOND PRECEDING AND CURRENT ROW)'


def _compare(console: Console, shape: Shape, rounds: int) -> float:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with duckdb.connect() as connection:
            connection.execute("SET timezone = 'UTC'; SELECT setseed(0.1)").fetchall()
            events: pa.Table = connection.sql(shape.events).to_arrow_table()
        store = FeatureStore(home=home / "store")
        store.catalog.create_namespace("raw")
        store.catalog.create_table("raw.events", schema=events.schema).append(events)
        files = store.catalog.load_table("raw.events").inspect.files().column("file_path").to_pylist()
        del events
        paths = [str(path).removeprefix("file://") for path in files]
        works = [("RANGE windows", lambda: _by_hand(shape, paths, home)), ("featurestore", lambda: _materialize(store, shape))]
        taken = in_turns(works, rounds, warm_up=False, measure=processor_seconds)
        return show(console, shape.title, taken, "RANGE windows")["featurestore"]


def _by_hand(shape: Shape, paths: list[str], home: Path) -> None:
    with duckdb.connect(config={"temp_directory": str(home / "spill")}) as connection:
        connection.execute("SET timezone = 'UTC'; SET enable_progress_bar = false")
        connection.read_parquet(paths).create_view("events")
        connection.execute(f"CREATE TEMP TABLE done AS {shape.by_hand}")


def _materialize(store: FeatureStore, shape: Shape) -> None:
    """From nothing: views that were made before are removed."""
    for view in store.views():
        store.remove_view(view.name)
    source = Source("events", table="raw.events", timestamp=shape.time)
    store.apply(
        [
            FeatureView(f"by_{key}", entity=Entity(key, keys=key), source=source, every="continuous", features=dict(features))
            for key, features in shape.views.items()
        ]
    )
    store.materialize(end=END)
