"""Maintenance that is killed at any step, or runs beside other processes, loses nothing."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.lakehouse import compaction
from featurestore.pipelines.maintenance import maintain
from tests.lakehouse import killed_process
from tests.worlds import STAMP, load_source

HOUR = timedelta(hours=1)
T = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])
ROOT = Path(__file__).parents[3]
UPKEEP = """
from datetime import timedelta
from featurestore import FeatureStore, Settings
from featurestore.lakehouse import compaction
from featurestore.pipelines.maintenance import maintain
from tests.lakehouse import killed_process
compaction.MIN_SMALL_FILES, maintain.GRACE = 2, timedelta(days={grace})
settings = Settings(home={home!r}, catalog={catalog!r})
FeatureStore(settings=settings).maintain(older_than=timedelta(0), drop_superseded_after=timedelta(0))
print(next(killed_process.STEPS) - 1)
"""
RUN = "from featurestore import FeatureStore; FeatureStore(home={home!r}).materialize()"


def rows(*events: tuple[int, datetime, float]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "at": at, "x": x} for k, at, x in events], SCHEMA)


def declare() -> FeatureService:
    source, thing = Source("s", table="raw.s", timestamp="at"), Entity("thing", keys="k")
    counts = FeatureView("counts", entity=thing, source=source, every="1h", features={"n": agg.count(over="2h")})
    last = FeatureView("last", entity=thing, source=source, features=["x"])
    return FeatureService("service", features=[counts, last])


def world(home: Path) -> FeatureStore:
    """Several runs with late rows and corrections, and a training set that pins one of them."""
    store = FeatureStore(home=home)
    load_source(store, "raw.s", SCHEMA.empty_table())
    store.apply([declare()])
    for number in range(3):
        store.catalog.load_table("raw.s").append(rows(*((k, T + k * HOUR, float(number)) for k in range(number, 4))))
        store.materialize()
        if number == 1:
            store.training_set("service", [{"k": k, "t": T + 9 * HOUR} for k in range(4)], "t")
    return store


def training_rows(store: FeatureStore) -> list[dict[str, Any]]:
    spine = pa.table({"k": [k for k in range(6) for _ in range(12)], "t": pa.array([T + t * HOUR for t in range(12)] * 6, STAMP)})
    return list(store.point_in_time("service", spine, "t").to_pylist())


def python(code: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def upkeep(home: Path, dies_at: int) -> tuple[int, str, str]:
    """Upkeep in a process of its own: its status, what it printed, and its errors."""
    code = UPKEEP.format(home=str(home), catalog=killed_process.catalog(f"sqlite:///{home / 'catalog.db'}"), grace=0)
    process = python(code, DIES_AT=str(dies_at))
    printed, errors = process.communicate(timeout=120)
    return process.returncode, printed, errors


@pytest.mark.slow
def test_upkeep_that_dies_at_any_step_leaves_every_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    with world(home) as store:
        (made,) = store.training_sets()
    status, _, errors = upkeep(home, 0)
    assert status == 0, errors
    with FeatureStore(home=home) as store:
        # Now there is something to expire, to sweep and to compact.
        store.catalog.load_table("raw.s").append(rows(*((k, T, 9.0) for k in range(4))))
        store.materialize()
        values = training_rows(store)
    shutil.copytree(home, copy)
    status, printed, errors = upkeep(home, 0)
    assert status == 0, errors
    steps = int(printed)
    assert steps > 20, "there is something to do"
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    for dies_at in range(1, steps + 1, steps // 4):
        shutil.rmtree(home)
        shutil.copytree(copy, home)
        status, _, errors = upkeep(home, dies_at)
        assert status == killed_process.DIED, errors
        with FeatureStore(home=home) as store:
            assert training_rows(store) == values, dies_at
            assert [run.rows_appended for run in store.materialize()] == [0, 0]
            assert {report["note"] for report in store.maintain(older_than=timedelta(0), drop_superseded_after=timedelta(0))} == {None}
            assert training_rows(store) == values
            assert store.rebuild(made["id"]).digest == made["digest"]


@pytest.mark.slow
def test_upkeep_twice_at_once_beside_a_run_loses_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with world(home) as store:
        (made,) = store.training_sets()
    code = UPKEEP.format(home=str(home), catalog={}, grace=1)
    for round_ in range(2):
        with FeatureStore(home=home) as store:
            store.catalog.load_table("raw.s").append(rows(*((k, T + k * HOUR, 10.0 + round_) for k in range(6))))
        for path in (home / "warehouse").rglob("*"):
            os.utime(path, (0, 0))
        running = [python(code), python(RUN.format(home=str(home))), python(code)]
        for process in running:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    fresh = FeatureStore(settings=Settings(home=home, features_namespace="f", registry_namespace="r", online=f"lmdb://{tmp_path}/online"))
    with FeatureStore(home=home) as store, fresh:
        fresh.apply([declare()])
        fresh.materialize()
        assert [run.rows_appended for run in store.materialize()] == [0, 0]
        assert training_rows(store) == training_rows(fresh)
        assert store.rebuild(made["id"]).digest == made["digest"]
        online = store.online_features("service", [{"k": k} for k in range(6)])
        assert online.rows == fresh.online_features("service", [{"k": k} for k in range(6)]).rows
        for table in ("counts_v1", "last_v1"):
            log = store.catalog.load_table(f"features.{table}")
            held = log.scan(selected_fields=("k", "feature_timestamp")).to_arrow()
            extra = held.num_rows - held.group_by(["k", "feature_timestamp"]).aggregate([]).num_rows
            assert int(log.properties["featurestore.corrections"]) == extra
