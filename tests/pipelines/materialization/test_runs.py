"""Runs of materialization: idempotent, with corrections, with concurrent runs, and after an interrupted run."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import RequestError, TypeMismatch
from tests.forked import fork_context
from tests.pipelines.materialization.killed import run_when_asked
from tests.worlds import STAMP, Template, load_source

HOUR = timedelta(hours=1)
T = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])


def rows(*events: tuple[int | None, datetime | None, float]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "at": at, "x": x} for k, at, x in events], SCHEMA)


def declare(**more: object) -> FeatureService:
    source = Source("s", table="raw.s", timestamp="at")
    entity = Entity("thing", keys="k")
    counts = FeatureView(
        "counts", entity=entity, source=source, every="1h", features={"n": agg.count(over="2h"), "x": agg.mean("x", over="2h")}
    )
    last = FeatureView("last", entity=entity, source=source, features=["x"])
    return FeatureService("service", features=[counts, last])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "raw.s", rows((1, T, 1.0), (1, T + HOUR, 2.0), (2, T, 3.0)))
        store.apply([declare()])

    return Template(tmp_path_factory.mktemp("runs"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def log(store: FeatureStore, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in store.catalog.load_table(f"features.{table}").scan().to_arrow().to_pylist()]


@pytest.mark.slow
def test_the_same_interval_again_appends_and_commits_nothing(store: FeatureStore) -> None:
    end = T + 10 * HOUR
    first = {run.view: run for run in store.materialize(end=end)}
    assert (first["counts"].rows_appended, first["last"].rows_appended) == (6, 3)
    metadata = store.catalog.load_table("features.counts_v1").metadata_location
    again = {run.view: run for run in store.materialize(end=end)}
    assert [run.rows_appended for run in again.values()] == [0, 0]
    assert store.catalog.load_table("features.counts_v1").metadata_location == metadata
    start = {run.view: run for run in store.materialize(start=T, end=end)}
    assert [run.rows_appended for run in start.values()] == [0, 0]


@pytest.mark.slow
def test_a_run_without_new_rows_moves_the_watermark_and_adds_no_snapshot(store: FeatureStore) -> None:
    store.materialize(end=T + 10 * HOUR)
    snapshot = store.view("last")["snapshot_id"]
    store.materialize(end=T + 20 * HOUR)
    assert store.view("last")["snapshot_id"] == snapshot
    assert store.view("last")["materialized_through"] == "2026-03-01T20:00:00.000000Z"
    assert store.online_features("service", [{"k": 1}]).watermarks["last_v1"] == int((T + 20 * HOUR).timestamp()) * 1_000_000


@pytest.mark.slow
def test_snapshots_say_where_they_come_from(store: FeatureStore) -> None:
    store.materialize()
    snapshot = store.catalog.load_table("features.counts_v1").current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    source = store.catalog.load_table("raw.s").current_snapshot()
    assert source is not None
    said = snapshot.summary.additional_properties
    assert said["featurestore.source-snapshots"] == f'{{"raw.s": "{source.snapshot_id}"}}'
    assert {"featurestore.run-id", "featurestore.interval", "featurestore.materialized-through", "featurestore.view-version"} <= set(said)


@pytest.mark.slow
def test_late_and_removed_rows_become_corrections_and_nulls(store: FeatureStore) -> None:
    store.materialize()
    before = log(store, "last_v1")
    store.catalog.load_table("raw.s").append(rows((1, T, 5.0), (2, T - HOUR, 4.0)))
    done = {run.view: run for run in store.materialize()}
    assert (done["last"].rows_appended, done["last"].corrections) == (2, 1)
    after = log(store, "last_v1")
    assert [row for row in after if row in before] == before
    store.catalog.load_table("raw.s").delete("k = 2")
    done = {run.view: run for run in store.materialize()}
    assert (done["last"].rows_appended, done["last"].corrections) == (2, 2)
    gone = store.point_in_time("service", [{"k": 2, "t": T + 5 * HOUR}, {"k": 1, "t": T}], "t")
    assert gone.select(["n_2h", "x_2h", "x"]).to_pylist() == [
        {"n_2h": None, "x_2h": None, "x": None},
        {"n_2h": None, "x_2h": None, "x": 5.0},
    ]
    assert store.online_features("service", [{"k": 2}]).rows == ((None, None, None),)
    assert [run.rows_appended for run in store.materialize()] == [0, 0]


@pytest.mark.slow
def test_null_keys_missing_times_and_the_future_are_counted_and_left_out(store: FeatureStore) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    store.catalog.load_table("raw.s").append(rows((None, T, 1.0), (3, tomorrow, 1.0), (3, None, 1.0)))
    done = {run.view: run for run in store.materialize(end=tomorrow + timedelta(days=9))}
    assert (done["last"].null_keys, done["last"].future_rows, done["last"].rows_appended) == (1, 1, 3)
    snapshot = store.catalog.load_table("features.last_v1").current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.additional_properties["featurestore.null-keys"] == "1"
    assert snapshot.summary.additional_properties["featurestore.future-rows"] == "1"
    assert store.online_features("service", [{"k": 3}]).status == {"counts": ("NOT_FOUND",), "last": ("NOT_FOUND",)}


def test_a_source_without_times_is_refused(store: FeatureStore) -> None:
    store.catalog.load_table("raw.s").overwrite(rows((1, None, 1.0)))
    with pytest.raises(RequestError, match="no row of source s has a value in its timestamp column 'at'"):
        store.materialize("last")
    assert store.view("last")["snapshot_id"] is None


@pytest.mark.slow
def test_a_changed_type_in_the_source_names_both_types(store: FeatureStore) -> None:
    store.materialize()
    with store.catalog.load_table("raw.s").update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("x")
    changed = pa.table({"k": pa.array([1], pa.int64()), "at": pa.array([T], STAMP), "x": ["one"]})
    with store.catalog.load_table("raw.s").update_schema() as change:
        change.union_by_name(changed.schema)
    store.catalog.load_table("raw.s").append(changed)
    before = store.view("last")
    with pytest.raises(TypeMismatch, match="column 'x' is DOUBLE in last_v1, but the source now gives VARCHAR"):
        store.materialize("last")
    assert store.view("last") == before


@pytest.mark.slow
def test_an_interval_that_leaves_a_gap_is_refused(store: FeatureStore) -> None:
    store.materialize(start=T, end=T + HOUR)
    with pytest.raises(RequestError, match="would leave a gap"):
        store.materialize(start=T + 2 * HOUR)
    with pytest.raises(RequestError, match="would leave a gap"):
        store.materialize(start=T - 5 * HOUR, end=T - 4 * HOUR)
    with pytest.raises(RequestError, match="is after end"):
        store.materialize(start=T + HOUR, end=T)


@pytest.mark.slow
def test_an_online_store_that_missed_a_run_is_brought_up_to_date(store: FeatureStore, tmp_path: Path) -> None:
    elsewhere = FeatureStore(settings=Settings(home=store.settings.home, online=f"lmdb://{tmp_path / 'elsewhere'}"))
    store.materialize()
    store.catalog.load_table("raw.s").append(rows((1, T + 2 * HOUR, 9.0)))
    assert sum(run.rows_appended for run in elsewhere.materialize()) > 0
    assert store.online_features("service", [{"k": 1}]).rows[0][2] == 2.0
    done = store.materialize()
    assert sum(run.rows_appended for run in done) == 0
    assert sum(run.published for run in done) == 2
    assert store.online_features("service", [{"k": 1}]).rows == elsewhere.online_features("service", [{"k": 1}]).rows
    assert store.online_features("service", [{"k": 1}]).rows[0][2] == 9.0


def version(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["k"], row["feature_timestamp"], row["created_timestamp"]


@pytest.mark.slow
@pytest.mark.parametrize("chunk_rows", [1000, 2], ids=["at once", "in chunks"])
def test_two_runs_at_once_append_each_row_once(store: FeatureStore, chunk_rows: int) -> None:
    context = fork_context()
    with ExitStack() as ended:
        asking = []
        for _ in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=run_when_asked, args=(store.settings.home, chunk_rows, theirs))
            process.start()
            theirs.close()
            ended.callback(process.join, 60)
            asking.append(ended.enter_context(ours))
        for round_ in range(3):
            store.catalog.load_table("raw.s").append(rows(*((k, T + k * HOUR, float(round_)) for k in range(5))))
            for runner in asking:
                runner.send("run")
            assert [runner.recv() for runner in asking] == ["done"] * 2
    for table in ("counts_v1", "last_v1"):
        versions = [{**row, "created_timestamp": None} for row in sorted(log(store, table), key=version)]
        assert not [after for before, after in pairwise(versions) if before == after]
    latest = store.point_in_time("service", [{"k": k, "t": T + timedelta(days=2)} for k in range(5)], "t")
    assert latest.column("x").to_pylist() == [2.0] * 5
    assert [run.rows_appended for run in store.materialize()] == [0, 0]
