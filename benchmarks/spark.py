"""Runs and joins by this process, by two workers of Dask, and by Spark on two cores: the fixed cost of each, and its cost per row."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.timing import seconds
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.distribution.factory import open_distributor

DAYS = 147
FEW = 10
"""The fixed cost is what is left of the time of rows / FEW after that of its rows."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """count, sum, mean and max over 7 days on a daily grid, 200 events a key, and a join with as many spine rows as events / 5."""
    table = Table("", "seconds", f"of {rows // FEW:,}", "microseconds per row", "fixed seconds", title=f"workers, {rows:,} events")
    costs: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for name, start in _engines():
            with start() as engine:
                for what, work in (("run", _run), ("join", _join)):
                    large, small = (
                        min(work(Path(folder) / f"{name}-{what}-{count}-{turn}", engine, count) for turn in range(rounds))
                        for count in (rows, rows // FEW)
                    )
                    per_row = (large - small) / (rows - rows // FEW)
                    costs[f"{what}, {name}"] = per_row
                    table.add_row(
                        f"{what}, {name}", f"{large:.1f}", f"{small:.1f}", f"{per_row * 1e6:.2f}", f"{large - per_row * rows:.1f}"
                    )
    console.print(table)
    return costs


def _engines() -> Iterator[tuple[str, Callable[[], AbstractContextManager[str | None]]]]:
    yield "this process", _here
    if importlib.util.find_spec("distributed"):
        yield "2 workers of Dask", _dask
    if importlib.util.find_spec("pyspark"):
        yield "Spark local[*]", _spark


@contextmanager
def _here() -> Iterator[None]:
    yield None


@contextmanager
def _dask() -> Iterator[str]:
    from distributed import LocalCluster  # noqa: PLC0415

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@contextmanager
def _spark() -> Iterator[str]:
    # Started before, and kept: each store would start a process of Java.
    cluster = open_distributor("spark")
    try:
        yield "spark"
    finally:
        cluster.close()


def _store(home: Path, engine: str | None, rows: int) -> FeatureStore:
    store = FeatureStore(settings=Settings(home=home, engine=engine, engine_from_rows=0))
    events = data.events(rows, rows // 200, DAYS)
    store.catalog.create_namespace("raw")
    store.catalog.create_table("raw.events", schema=events.schema).append(events)
    entity, source = Entity("customer", keys="key"), Source("events", table="raw.events", timestamp="event_time")
    features = {
        "n": agg.count(over="7d"),
        "sum": agg.sum("value", over="7d"),
        "mean": agg.mean("value", over="7d"),
        "top": agg.max("value", over="7d"),
    }
    store.apply([FeatureService("s", features=[FeatureView("v", entity=entity, source=source, every="1d", features=features)])])
    return store


def _run(home: Path, engine: str | None, rows: int) -> float:
    with _store(home, engine, rows) as store:
        store.materialize("v", end="2026-01-02")
        return seconds(lambda: store.materialize("v"))


def _join(home: Path, engine: str | None, rows: int) -> float:
    with _store(home, None, rows) as store:
        store.materialize()
    spine = data.spine(rows // 5, rows // 200, DAYS)
    with FeatureStore(settings=Settings(home=home, engine=engine, engine_from_rows=0)) as store:
        store.point_in_time("s", spine.slice(0, 10), "asked_at")
        return seconds(lambda: store.point_in_time("s", spine, "asked_at"))
