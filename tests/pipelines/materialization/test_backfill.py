"""Backfills in chunks: the same rows for all chunk sizes, resumed after an interruption, and committed at once."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table.snapshots import Operation

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import Conflict, RequestError
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT
from featurestore.pipelines.materialization.materialize import ViewProgress
from tests.pipelines.materialization.overtaken import lose_lease
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
END = T + timedelta(days=120)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("seen", STAMP), ("x", pa.float64())])
VIEWS = ("counts", "last", "known")


def events(first: int, last: int, keys: int = 9) -> pa.Table:
    """One event an hour for one key after the other, known an hour later."""
    moments = [T + timedelta(hours=hour) for hour in range(first, last)]
    hours = range(first, last)
    columns = [[hour * 7 % keys for hour in hours], moments, [moment + timedelta(hours=1) for moment in moments], [h / 10 for h in hours]]
    return pa.table(columns, schema=SCHEMA)


def declare() -> list[FeatureService]:
    source = Source("s", table="raw.s", timestamp="at")
    entity = Entity("thing", keys="k")
    features = {
        "n": agg.count(over=["1d", "7d"]),
        "mean": agg.mean("x", over="7d"),
        "top": agg.max("x", over="1d"),
        "kinds": agg.count_distinct("x", over="7d"),
    }
    counts = FeatureView("counts", entity=entity, source=source, every="1d", features=features)
    last = FeatureView("last", entity=entity, source=source, features=["x"])
    known = FeatureView("known", entity=entity, source=Source("t", table="raw.s", timestamp="at", created="seen"), features=["x"])
    return [FeatureService("service", features=[counts, last]), FeatureService("other", features=[known])]


def open_store(home: Path, chunk_rows: int | None = None) -> FeatureStore:
    return FeatureStore(settings=Settings(home=home, chunk_rows=chunk_rows))


def fresh(home: Path, chunk_rows: int | None = None, hours: int = 24 * 80) -> FeatureStore:
    store = open_store(home, chunk_rows)
    load_source(store, "raw.s", events(0, hours))
    store.apply(declare())
    return store


def rows(store: FeatureStore, view: str) -> list[dict[str, Any]]:
    """What a feature table holds, in order, without the run's own time."""
    stored = store.catalog.load_table(f"features.{view}_v1").scan().to_arrow()
    kept = [name for name in stored.column_names if name != "created_timestamp" or view == "known"]
    return [dict(row) for row in stored.select(kept).sort_by([("feature_timestamp", "ascending"), ("k", "ascending")]).to_pylist()]


def appends(store: FeatureStore, view: str) -> list[int]:
    """The snapshots of a feature table that added rows; others merged files."""
    snapshots = store.catalog.load_table(f"features.{view}_v1").snapshots()
    return [found.snapshot_id for found in snapshots if found.summary and found.summary.operation is Operation.APPEND]


def as_of(store: FeatureStore) -> pa.Table:
    """What every key sees every 12 hours."""
    moments = [T + timedelta(hours=12 * number) for number in range(240)]
    spine = pa.table({"k": [k for k in range(10) for _ in moments], "t": pa.array(moments * 10, STAMP)})
    return store.point_in_time("service", spine, "t")


@pytest.mark.slow
def test_rows_do_not_depend_on_how_a_backfill_is_cut(tmp_path: Path) -> None:
    whole, cut = fresh(tmp_path / "whole"), fresh(tmp_path / "cut", chunk_rows=200)
    for store in (whole, cut):
        store.materialize(end=END)
    for view in VIEWS:
        assert rows(whole, view) == rows(cut, view)
        assert len(appends(cut, view)) == 1
    assert [run.rows_appended for run in cut.materialize(end=END)] == [0, 0, 0]
    assert as_of(whole).equals(as_of(cut))
    assert whole.online_features("service", [{"k": 3}]).rows == cut.online_features("service", [{"k": 3}]).rows


@pytest.mark.slow
def test_progress_tells_chunks_rows_and_the_time_that_is_left(tmp_path: Path) -> None:
    seen: list[ViewProgress] = []
    fresh(tmp_path, chunk_rows=200).materialize("counts", end=END, progress=seen.append)
    computing = [progress for progress in seen if progress.stage == "compute"]
    assert [progress.done for progress in computing] == list(range(computing[0].total))
    assert computing[0].total > 3
    assert computing[0].seconds_left is None
    assert all(progress.seconds_left is not None for progress in computing[1:])
    assert [progress.rows for progress in computing] == sorted(progress.rows for progress in computing)
    assert seen[-1] == ViewProgress("counts", "done", 1, 1, len(rows(open_store(tmp_path), "counts")))


class _CutOffError(Exception):
    """Stands for whatever ends a process."""


def cut_off_after(chunks: int) -> Any:
    def report(progress: ViewProgress) -> None:
        if progress.stage == "compute" and progress.done == chunks:
            raise _CutOffError

    return report


@pytest.mark.slow
@pytest.mark.parametrize("view", ["counts", "last"])
def test_a_backfill_that_was_cut_off_is_gone_on_with(tmp_path: Path, view: str) -> None:
    store = fresh(tmp_path, chunk_rows=200)
    with pytest.raises(_CutOffError):
        store.materialize(view, end=END, progress=cut_off_after(2))
    assert rows(store, view) == []
    assert store.view(view)["materialized_through"] is None
    assert store.online_features("service", [{"k": 1}]).status[view] == ("NOT_FOUND",)
    ready = set(json.loads(store.catalog.load_table(f"features.{view}_v1").properties["featurestore.unfinished"])["files"])
    # What comes in between is for the run after the one that is gone on with.
    store.catalog.load_table("raw.s").append(events(24 * 80, 24 * 81))
    again = open_store(tmp_path, chunk_rows=200)
    begun: list[int] = []
    again.materialize(view, end=END, progress=lambda progress: begun.append(progress.done) if progress.stage == "compute" else None)
    assert begun[0] == 2
    # The run may have merged small files after it.
    added = appends(again, view)[0]
    assert ready <= {task.file.file_path for task in again.catalog.load_table(f"features.{view}_v1").scan(snapshot_id=added).plan_files()}
    assert "featurestore.unfinished" not in again.catalog.load_table(f"features.{view}_v1").properties
    whole = fresh(tmp_path / "whole", hours=24 * 81)
    for one in (again, whole):
        one.materialize(["counts", "last"], end=END)
    assert as_of(again).equals(as_of(whole))


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_resumed_is_dropped(tmp_path: Path) -> None:
    store = fresh(tmp_path, chunk_rows=200)
    with pytest.raises(_CutOffError):
        store.materialize("last", end=END, progress=cut_off_after(2))
    # Cut in another way, the chunks that are ready are of no use.
    other = open_store(tmp_path, chunk_rows=300)
    begun: list[int] = []
    other.materialize("last", end=END, progress=lambda progress: begun.append(progress.done) if progress.stage == "compute" else None)
    assert begun[0] == 0
    assert len(rows(other, "last")) == 24 * 80


def test_a_checkpoint_of_a_newer_release_is_refused_and_kept(tmp_path: Path) -> None:
    store = fresh(tmp_path, chunk_rows=200)
    newer = json.dumps({"done": [], "files": [], "later": 1})
    with store.catalog.load_table("features.last_v1").transaction() as change:
        change.set_properties({CHECKPOINT: newer})
    with pytest.raises(Conflict, match=r"last_v1 has the checkpoint of a backfill by a newer release of featurestore \(later\)"):
        store.materialize("last", end=END)
    assert store.catalog.load_table("features.last_v1").properties[CHECKPOINT] == newer


@pytest.mark.slow
def test_what_the_data_do_not_allow_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    store = open_store(tmp_path, chunk_rows=2)
    odd = pa.table({"k": [1, 1, 1, 1], "at": pa.array([T + timedelta(days=40 * n) for n in range(4)], STAMP), "x": ["1", "2", "3", "?"]})
    load_source(store, "raw.odd", odd)
    source = Source("odd", table="raw.odd", timestamp="at")
    store.apply([FeatureView("odd", Entity("thing", keys="k"), source, {"number": "CAST(x AS INTEGER)"})])
    with pytest.raises(RequestError, match="view odd"):
        store.materialize("odd")
    table = store.catalog.load_table("features.odd_v1")
    assert table.current_snapshot() is None
    assert "featurestore.unfinished" not in table.properties
    store.catalog.load_table("raw.odd").delete("x = '?'")
    assert [run.rows_appended for run in store.materialize("odd")] == [3]


@pytest.mark.slow
def test_another_run_is_not_undone_by_one_that_comes_late(tmp_path: Path) -> None:
    store, other = fresh(tmp_path, chunk_rows=200), open_store(tmp_path, chunk_rows=200)

    def overtake(progress: ViewProgress) -> None:
        if progress.stage == "compute" and progress.done == 2 and not done:
            lose_lease(other, "features.last_v1")
            done.extend(other.materialize("last", end=END))

    done: list[Any] = []
    store.materialize("last", end=END, progress=overtake)
    assert len(rows(store, "last")) == 24 * 80
    assert len(store.catalog.load_table("features.last_v1").snapshots()) == 1


FULL = """
import sys
from featurestore import FeatureStore, Settings
from featurestore.errors import OutOfResources
from tests.pipelines.materialization.test_backfill import END
store = FeatureStore(settings=Settings(home=sys.argv[1], spill_directory=sys.argv[2], chunk_rows=2000))
before = {view: store.catalog.load_table(f"features.{view}_v1").current_snapshot() for view in ("counts", "last")}
for view in before:
    try:
        store.materialize(view, end=END)
    except OutOfResources as error:
        print(error)
    else:
        sys.exit(f"there was room for {view}")
assert before == {view: store.catalog.load_table(f"features.{view}_v1").current_snapshot() for view in before}
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on PATH: apt-get install util-linux")
    store = fresh(tmp_path / "home", hours=24 * 80)
    features = tmp_path / "home" / "warehouse" / "features"
    pages = sum(-(-path.stat().st_size // 4096) for path in features.rglob("*") if path.is_file())
    mount = f"mount -t tmpfs -o size={(pages + 2) * 4}k tmpfs {features}"
    small = f"cp -r {features} {tmp_path}/kept && {mount} && cp -r {tmp_path}/kept/. {features}"
    run = f"{sys.executable} -c '{FULL}' {tmp_path / 'home'} {tmp_path / 'spill'}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", f"{small} && {run}"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the disk is full") + done.stdout.count("no space left") == 2, done.stdout
    assert [run.rows_appended > 0 for run in store.materialize(end=END)] == [True, True, True]
