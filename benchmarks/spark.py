"""Runs and joins by this process, by two workers of Dask, and by Spark: the fixed cost of each, and the costs per bucket and per row."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.families import processor_seconds
from benchmarks.timing import seconds
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.distribution import buckets
from featurestore.distribution.factory import open_distributor
from tests.distribution import spark_servers

DAYS = 147
FEW = 100
"""The fixed cost is measured with rows / FEW, in one bucket, and the cost per bucket with as many rows in all of FEW_BUCKETS."""
HERE = "this process"


class Spent(NamedTuple):
    """Seconds by the clock, and of processors in all processes."""

    clock: float
    processors: float


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """count, sum, mean and max over 7 days on a daily grid, 200 events a key, and a join with as many spine rows as events / 5.

    Returns the microseconds of processors per row.
    """
    clock, costs = _table(f"workers, {rows:,} events: seconds"), _table("the same: seconds of processors, of the driver and all workers")
    per_row: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        for what, prepare, work in (("run", _no_store, _run), ("join", _joined_store, _join)):
            for count in (rows, rows // FEW):
                prepare(Path(folder) / f"{what}-{count}", count)
            for name, start in _engines():
                with start() as engine:
                    spent = _measure(Path(folder), what, work, name, engine, rows, rounds)
                for table, index in ((clock, 0), (costs, 1)):
                    one, many, large = (size[index] for size in spent)
                    bucket = 0.0 if name == HERE else (many - one) / (buckets.FEW_BUCKETS - 1)
                    row = (large - (one if name == HERE else many)) / (rows - rows // FEW)
                    fixed = one - bucket - row * (rows // FEW)
                    table.add_row(f"{what}, {name}", *(f"{value:.2f}" for value in (large, many, one, fixed, bucket, row * 1e6)))
                per_row[f"{what}, {name}"] = row * 1e6
    console.print(clock, costs)
    return per_row


def _table(title: str) -> Table:
    few = f"1/{FEW} of the rows"
    columns = ["all rows", f"{few}, {buckets.FEW_BUCKETS} buckets", f"{few}, 1 bucket", "fixed", "per bucket", "µs per row"]
    return Table("", *columns, title=title, title_justify="left")


def _measure(
    folder: Path, what: str, work: Callable[[Path, str | None, int], Spent], name: str, engine: str | None, rows: int, rounds: int
) -> list[Spent]:
    """The least of each size: few rows in one bucket, few in all buckets, and all rows."""
    sizes = [(rows // FEW, buckets.FEW_ROWS), (rows // FEW, 1), (rows, buckets.FEW_ROWS)]
    spent = []
    for count, bucket_rows in sizes:
        # The workers do not count buckets.
        with patch.object(buckets, "FEW_ROWS", bucket_rows):
            found = [work(folder / f"{what}-{count}", engine, count) for _ in range(rounds)]
        spent.append(Spent(min(each.clock for each in found), min(each.processors for each in found)))
    return spent


def _engines() -> Iterator[tuple[str, Callable[[], AbstractContextManager[str | None]]]]:
    yield HERE, _here
    if importlib.util.find_spec("distributed"):
        yield "Dask, 2 workers", _dask
    if importlib.util.find_spec("pyspark"):
        os.environ |= spark_servers.environment()
        yield "Spark local[*]", _spark
        yield "Spark master, 2 workers", _standalone


@contextmanager
def _here() -> Iterator[None]:
    yield None


@contextmanager
def _dask() -> Iterator[str]:
    from distributed import LocalCluster  # noqa: PLC0415

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@contextmanager
def _spark(address: str = "spark") -> Iterator[str]:
    # Started before, and kept: each store would start a process of Java.
    cluster = open_distributor(address)
    try:
        yield address
    finally:
        cluster.close()


@contextmanager
def _standalone() -> Iterator[str]:
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        address, _ = stack.enter_context(spark_servers.standalone(Path(folder)))
        yield stack.enter_context(_spark(address))


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


def _no_store(_home: Path, _rows: int) -> None:
    """A run makes its own: it must find nothing computed."""


def _joined_store(home: Path, rows: int) -> None:
    with _store(home, None, rows) as store:
        store.materialize()


def _run(_home: Path, engine: str | None, rows: int) -> Spent:
    with TemporaryDirectory() as home, _store(Path(home), engine, rows) as store:
        store.materialize("v", end="2026-01-02")
        return _spent(lambda: store.materialize("v"))


def _join(home: Path, engine: str | None, rows: int) -> Spent:
    spine = data.spine(rows // 5, rows // 200, DAYS)
    with FeatureStore(settings=Settings(home=home, engine=engine, engine_from_rows=0)) as store:
        store.point_in_time("s", spine.slice(0, 10), "asked_at")
        return _spent(lambda: store.point_in_time("s", spine, "asked_at"))


def _spent(work: Callable[[], object]) -> Spent:
    before = processor_seconds()
    clock = seconds(work)
    return Spent(clock, processor_seconds() - before)
