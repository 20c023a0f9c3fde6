"""Processes that build training sets, concurrently, or until they are killed."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import NotFound
from featurestore.joins import pinned
from featurestore.lakehouse import tables, tags, writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from tests.pipelines.materialization.killed import step_that_kills
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEYS = 4
WAIT_SECONDS = 60
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])


def events(first: int, last: int, more: float = 0.0) -> pa.Table:
    """An event an hour, of one key after the other."""
    return pa.Table.from_pylist([{"k": hour % KEYS, "at": T + hour * HOUR, "x": hour / 10 + more} for hour in range(first, last)], SCHEMA)


def declare() -> FeatureService:
    """The service `service`, of a view on a grid and one of rows."""
    source, thing = Source("s", table="raw.s", timestamp="at"), Entity("thing", keys="k")
    counts = FeatureView(
        "counts", entity=thing, source=source, every="1h", features={"n": agg.count(over="6h"), "sum": agg.sum("x", over="6h")}
    )
    return FeatureService("service", features=[counts, FeatureView("last", entity=thing, source=source, features=["x"])])


def world(settings: Settings) -> None:
    """A store with two days of events."""
    with FeatureStore(settings=settings) as store:
        load_source(store, "raw.s", events(0, 48))
        store.apply([declare()])
        store.materialize()


def spine(rows: int) -> pa.Table:
    """So many rows; another number of them is another request."""
    return pa.table({"k": [row % (KEYS + 1) for row in range(rows)], "t": pa.array([T + row * HOUR / 2 for row in range(rows)], STAMP)})


def build(settings: Settings, requests: list[tuple[str, int]], barrier: threading.Barrier, outcomes: Any) -> None:
    """Build training sets of these names and numbers of rows, each at the same moment as the others do what they do."""
    with FeatureStore(settings=settings) as store:
        for name, rows in requests:
            prepared = store.backend.prepare_training_set(TrainingSetRequest.of("service", spine(rows), "t", name=name))
            barrier.wait(WAIT_SECONDS)
            try:
                made = store.backend.build_training_set(prepared)
            except NotFound:
                # What was the newest snapshot a moment ago has expired: ask for the newest again.
                made = store.training_set("service", spine(rows), "t", name=name)
            outcomes.put((rows, made.id, made.digest, made.manifest["snapshot_id"]))


def change(settings: Settings, rounds: int, barrier: threading.Barrier) -> None:
    """Corrections, a run that takes them up, and upkeep that keeps nothing which it need not, so many times."""
    with FeatureStore(settings=settings) as store:
        source = store.catalog.load_table("raw.s")
        for first in range(rounds):
            source.append(events(first, first + 3, more=1.0))
            barrier.wait(WAIT_SECONDS)
            store.materialize()
            store.maintain(older_than=timedelta(0))


def die(home: Path, name: str, rows: int, dies_at: int) -> None:
    """Build a training set; die by SIGKILL at the n-th step: before or after a tag, the join, the making of a table, files, or a commit."""
    step = step_that_kills(dies_at)
    for owner, work in ((tags, "commit"), (pinned, "join"), (tables, "create"), (DataFiles, "write"), (writes, "commit")):
        setattr(owner, work, step(getattr(owner, work)))
    with FeatureStore(settings=Settings(home=home)) as store:
        store.training_set("service", spine(rows), "t", name=name)
