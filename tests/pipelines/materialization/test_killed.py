"""A materialization that is killed at any time loses nothing and shows no partial result, and the next one completes it."""

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests.forked import fork_context
from tests.pipelines.materialization import killed
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = 6
CHUNK_ROWS = 120
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])
TABLES = ("counts_v1", "last_v1")


def events(first: int, last: int) -> pa.Table:
    hours = range(first, last)
    return pa.table(
        [[hour * 5 % KEYS for hour in hours], [T + timedelta(hours=hour) for hour in hours], [h / 10 for h in hours]], schema=SCHEMA
    )


def declare() -> FeatureService:
    source = Source("s", table="raw.s", timestamp="at")
    entity = Entity("thing", keys="k")
    features = {"n": agg.count(over="7d"), "mean": agg.mean("x", over="7d")}
    counts = FeatureView("counts", entity=entity, source=source, every="1d", features=features)
    return FeatureService("service", features=[counts, FeatureView("last", entity=entity, source=source, features=["x"])])


def open_store(home: Path) -> FeatureStore:
    return FeatureStore(settings=Settings(home=home, chunk_rows=CHUNK_ROWS))


def newest(store: FeatureStore, table: str, snapshot_id: int | None) -> dict[int, dict[str, Any]]:
    """The newest row of every key in a snapshot."""
    if snapshot_id is None:
        return {}
    rows = store.catalog.load_table(f"features.{table}").scan(snapshot_id=snapshot_id).to_arrow().to_pylist()
    return {row["k"]: dict(row) for row in sorted(rows, key=lambda row: (row["feature_timestamp"], row["created_timestamp"]))}


def check_nothing_is_half(store: FeatureStore, sizes: dict[str, set[int]]) -> None:
    """Each table holds the rows of whole runs, and the online store the newest of each key in one snapshot of it."""
    for name in TABLES:
        table = store.catalog.load_table(f"features.{name}")
        sizes[name].add(sum(task.file.record_count for task in table.scan().plan_files()))
        cursor = store._runtime.online.cursor(name)
        (read,) = store._runtime.online.read([(name, [(k,) for k in range(KEYS)])])
        expected = newest(store, name, cursor.snapshot_id if cursor else None)
        features = [column for column in table.schema().column_names if column not in ("k", "feature_timestamp", "created_timestamp")]
        online_rows = {k: row for k, row in enumerate(read.rows) if row is not None}
        assert {k: row.values for k, row in online_rows.items()} == {k: tuple(row[f] for f in features) for k, row in expected.items()}


@pytest.mark.slow
def test_a_kill_at_every_step_and_anywhere(tmp_path: Path) -> None:
    home, chance = tmp_path / "home", random.Random(20261121)
    store = open_store(home)
    load_source(store, "raw.s", events(0, 24 * 30))
    store.apply([declare()])
    processes = fork_context()
    sizes: dict[str, set[int]] = {name: set() for name in TABLES}
    kills, lives, hours = 0, 0, 24 * 30
    # Steps are where it matters most: one process dies at each, in no order; each fourth is shot at whatever it is doing, which is 0.
    for number, step in enumerate(chance.sample(range(1, 30), 29)):
        for dies_at in (step, 0) if number % 3 == 2 else (step,):
            process = processes.Process(target=killed.run, args=(home, CHUNK_ROWS, dies_at))
            process.start()
            process.join(120 if dies_at else chance.uniform(0.05, 1.0))
            if process.is_alive():
                process.kill()
                process.join()
            if process.exitcode == -signal.SIGKILL:
                kills += 1
            else:
                assert process.exitcode == 0
                lives += 1
                # A late day, and a new one.
                store.catalog.load_table("raw.s").append(events(hours - 48, hours + 24))
                hours += 24
            check_nothing_is_half(store, sizes)
    store.materialize()
    check_nothing_is_half(store, sizes)
    assert kills > 20
    assert lives > 3
    # A table was only ever seen with the rows of whole runs: no more sizes than runs that ended, and the empty table.
    assert all(len(seen) <= len(store.catalog.load_table(f"features.{name}").snapshots()) + 1 for name, seen in sizes.items())
    assert [run.rows_appended for run in store.materialize()] == [0, 0]
    whole = FeatureStore(home=tmp_path / "whole")
    load_source(whole, "raw.s", store.catalog.load_table("raw.s").scan().to_arrow())
    whole.apply([declare()])
    whole.materialize()
    moments = [T + timedelta(hours=12 * number) for number in range(hours // 12 + 30)]
    spine = pa.table({"k": [k for k in range(KEYS) for _ in moments], "t": pa.array(moments * KEYS, STAMP)})
    assert store.point_in_time("service", spine, "t").equals(whole.point_in_time("service", spine, "t"))
    check_orphans(store)


def check_orphans(store: FeatureStore) -> None:
    """Killed runs left files; when they are old, upkeep takes them away, and every file that is left is one that is read."""
    long_ago = (datetime.now(UTC) - timedelta(days=40)).timestamp()
    for path in Path(store.settings.home, "warehouse").rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    store.maintain(older_than=timedelta(days=30))
    for name in TABLES:
        table = store.catalog.load_table(f"features.{name}")
        folder = Path(table.location().removeprefix("file://")) / "data"
        kept = {entry["file_path"].removeprefix("file://") for entry in table.inspect.all_files().to_pylist()}
        assert {str(path) for path in folder.rglob("*.parquet")} == kept
