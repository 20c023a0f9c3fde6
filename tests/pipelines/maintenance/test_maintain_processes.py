"""Maintenance that is killed at any step, or runs beside other processes, loses nothing."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.lakehouse import compaction
from featurestore.pipelines.maintenance import maintain
from tests.forked import fork_context
from tests.lakehouse import killed_process
from tests.pipelines.maintenance import upkeep
from tests.worlds import STAMP, load_source

HOUR = timedelta(hours=1)
T = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])


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


def maintained(home: Path, dies_at: int) -> int | None:
    """The exit status of a process that maintains the store; it writes the number of its steps."""
    catalog = killed_process.catalog(f"sqlite:///{home / 'catalog.db'}")
    process = fork_context().Process(target=upkeep.upkeep, args=(home, timedelta(0), catalog, dies_at, steps_of(home)))
    process.start()
    process.join(120)
    return process.exitcode


def steps_of(home: Path) -> Path:
    return home.with_suffix(".steps")


@pytest.mark.slow
def test_upkeep_that_dies_at_any_step_leaves_every_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    with world(home) as store:
        (made,) = store.training_sets()
    assert maintained(home, 0) == 0
    with FeatureStore(home=home) as store:
        # Now there is something to expire, to sweep and to compact.
        store.catalog.load_table("raw.s").append(rows(*((k, T, 9.0) for k in range(4))))
        store.materialize()
        values = training_rows(store)
    shutil.copytree(home, copy)
    assert maintained(home, 0) == 0
    steps = int(steps_of(home).read_text())
    assert steps > 20, "there is something to do"
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    for dies_at in range(1, steps + 1, steps // 4):
        shutil.rmtree(home)
        shutil.copytree(copy, home)
        assert maintained(home, dies_at) == killed_process.DIED
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
    context = fork_context()
    maintenance: tuple[Any, ...] = (home, timedelta(days=1), {}, 0, steps_of(home))
    for round_ in range(2):
        with FeatureStore(home=home) as store:
            store.catalog.load_table("raw.s").append(rows(*((k, T + k * HOUR, 10.0 + round_) for k in range(6))))
        for path in (home / "warehouse").rglob("*"):
            os.utime(path, (0, 0))
        works: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
            (upkeep.upkeep, maintenance),
            (upkeep.run, (home,)),
            (upkeep.upkeep, maintenance),
        ]
        running = [context.Process(target=work, args=arguments) for work, arguments in works]
        for process in running:
            process.start()
        for process in running:
            process.join(120)
            assert process.exitcode == 0
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
