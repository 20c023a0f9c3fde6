"""Maintenance of a store: fewer files, no changed rows, and nothing removed that is pinned or in use."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.compiler.query import text_query
from featurestore.errors import RequestError
from featurestore.lakehouse import compaction, tables
from featurestore.pipelines.maintenance import maintain
from featurestore.pipelines.maintenance.compact import compact
from featurestore.pipelines.maintenance.maintain import TableMaintenance
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT, Checkpoint
from featurestore.pipelines.materialization.rewrite import feature_layout
from featurestore.records.leases import Leases
from featurestore.values.times import micros
from tests.worlds import STAMP, Template, load_source

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
T = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("known", STAMP), ("x", pa.float64())])
NOW = timedelta(0)


def rows(*events: tuple[int, datetime, float]) -> pa.Table:
    return pa.Table.from_pylist([{"k": k, "at": at, "known": at, "x": x} for k, at, x in events], SCHEMA)


def declare() -> FeatureService:
    source, told = Source("s", table="raw.s", timestamp="at"), Source("told", table="raw.s", timestamp="at", created="known")
    thing = Entity("thing", keys="k")
    last = FeatureView("last", entity=thing, source=source, features=["x"])
    versions = FeatureView("versions", entity=thing, source=told, features={"y": "x"})
    return FeatureService("service", features=[last, versions])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "raw.s", rows((9, T, 0.0)))
        store.apply([declare()])
        store.materialize()
        late(store, (8, T + HOUR, 1.0))

    return Template(tmp_path_factory.mktemp("maintain"), fill)


@pytest.fixture
def store(template: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    """Two runs of one row each: two small files of one month in each table, which are many here."""
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    with template.opened() as store:
        yield store


def late(store: FeatureStore, *events: tuple[int, datetime, float]) -> dict[str, Any]:
    store.catalog.load_table("raw.s").append(rows(*events))
    return {run.view: run for run in store.materialize()}


def upkeep(store: FeatureStore, **how: Any) -> dict[str, TableMaintenance]:
    return {report.table: report for report in store.maintain(**how)}


def files(store: FeatureStore, table: str) -> list[str]:
    """The data files of a table's head."""
    return [str(path) for path in store.catalog.load_table(table).inspect.files()["file_path"].to_pylist()]


def log(store: FeatureStore, table: str) -> list[dict[str, Any]]:
    stored = store.catalog.load_table(f"features.{table}").scan().to_arrow()
    return sorted(stored.to_pylist(), key=lambda row: (row["k"], row["feature_timestamp"], row["created_timestamp"]))


def corrections(store: FeatureStore, table: str) -> tuple[int, int]:
    """What the table says, and what is so."""
    stored = log(store, table)
    said = int(store.catalog.load_table(f"features.{table}").properties["featurestore.corrections"])
    return said, len(stored) - len({(row["k"], row["feature_timestamp"]) for row in stored})


def training_rows(store: FeatureStore, at: datetime, known: Any = "now") -> list[dict[str, Any]]:
    spine = pa.table({"k": pa.array(range(10), pa.int64()), "t": pa.array([at] * 10, STAMP)})
    return list(store.point_in_time("service", spine, "t", known).to_pylist())


@pytest.fixture
def graceless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No one but this test reads and writes: what is not reachable can go at once."""
    monkeypatch.setattr(maintain, "GRACE", NOW)


@pytest.mark.slow
def test_small_files_become_one_sorted_file_and_nothing_else_changes(store: FeatureStore) -> None:
    before = {table: log(store, table) for table in ("last_v1", "versions_v1")}
    values, online = training_rows(store, T + DAY), store.online_features("service", [{"k": 8}, {"k": 1}])
    done = upkeep(store)
    assert done["features.last_v1"].to_dict() | {"compacted_bytes": 0} == {
        "table": "features.last_v1",
        "snapshots": 0,
        "files": 0,
        "bytes": 0,
        "compacted_files": 2,
        "compacted_bytes": 0,
        "dropped_rows": 0,
        "note": None,
    }
    assert done["features.last_v1"]["compacted_bytes"] > 0
    assert {table: log(store, table) for table in before} == before
    assert training_rows(store, T + DAY) == values
    (path,) = files(store, "features.last_v1")
    assert pq.read_table(path)["k"].to_pylist() == [8, 9]
    again = store.online_features("service", [{"k": 8}, {"k": 1}])
    assert again.rows == online.rows
    assert again.watermarks == online.watermarks
    assert {f"{table}": str(snapshot) for table, snapshot in again.snapshots.items()} == {
        f"{view}_v1": store.view(view)["snapshot_id"] for view in ("last", "versions")
    }
    assert [(run.rows_appended, run.published) for run in store.materialize()] == [(0, 0)] * 2
    assert {report["compacted_files"] for report in store.maintain()} == {0}
    after = late(store, (20, T, 1.0))
    assert {view: run.published for view, run in after.items()} == {"last": 1, "versions": 1}, "the late row, and it alone"


@pytest.mark.slow
def test_what_an_online_store_that_is_behind_still_needs_is_kept(store: FeatureStore, tmp_path: Path) -> None:
    elsewhere = FeatureStore(settings=Settings(home=store.settings.home, online=f"lmdb://{tmp_path / 'elsewhere'}"))
    late(elsewhere, (20, T, 1.0))
    first = upkeep(store, older_than=NOW)
    assert first["features.last_v1"]["snapshots"] == 1, "all before the one that the online store stands on"
    assert first["features.last_v1"]["compacted_files"] == 3
    assert upkeep(store, older_than=NOW)["features.last_v1"]["snapshots"] == 0
    runs = store.materialize()
    assert sum(run.rows_appended for run in runs) == 0
    assert {run.view: run.published for run in runs} == {"last": 1, "versions": 1}
    assert upkeep(store, older_than=NOW)["features.last_v1"]["snapshots"] == 2


@pytest.mark.slow
def test_logs_are_compacted_too_and_a_plan_from_before_still_applies(store: FeatureStore) -> None:
    store.apply([Entity("one", keys="k")])
    plan = store.plan([Entity("other", keys="k")])
    known = (store.services(), store.entities(), store.sources())
    assert upkeep(store)["registry.definitions"]["compacted_files"] == 2
    assert len(files(store, "registry.definitions")) == 1
    assert (store.services(), store.entities(), store.sources()) == known
    store.apply(plan)
    assert "other" in {entity["name"] for entity in store.entities()}


@pytest.mark.slow
@pytest.mark.usefixtures("graceless")
def test_a_dry_run_says_what_a_run_then_does(store: FeatureStore) -> None:
    late(store, (9, T, 50.0))
    late(store, (9, T, 60.0))
    upkeep(store, older_than=NOW)
    metadata = {report["table"]: store.catalog.load_table(report["table"]).metadata_location for report in store.maintain()}
    before = sorted(store.settings.home_path().rglob("*"))
    expected = upkeep(store, older_than=NOW, dry_run=True, drop_superseded_after=NOW)
    assert sorted(store.settings.home_path().rglob("*")) == before
    assert {table: store.catalog.load_table(table).metadata_location for table in metadata} == metadata
    assert expected["features.last_v1"]["snapshots"] == 1
    assert expected["features.last_v1"]["files"] >= 4
    assert expected["features.last_v1"]["dropped_rows"] == 2
    assert upkeep(store, older_than=NOW, drop_superseded_after=NOW) == expected


@pytest.mark.slow
def test_corrections_are_folded_only_when_asked_and_counted(store: FeatureStore) -> None:
    for value in (50.0, 60.0):
        late(store, (9, T, value))
    assert corrections(store, "last_v1") == (2, 2)
    values = training_rows(store, T + DAY)
    assert upkeep(store)["features.last_v1"]["dropped_rows"] == 0
    assert corrections(store, "last_v1") == (2, 2)
    done = upkeep(store, drop_superseded_after=NOW)
    assert done["features.last_v1"]["dropped_rows"] == 2
    assert corrections(store, "last_v1") == (0, 0)
    assert store.history("last")[0].operation == "drop superseded"
    assert training_rows(store, T + DAY) == values
    assert [(run.rows_appended, run.published) for run in store.materialize(start=T)] == [(0, 0)] * 2
    late(store, (9, T, 70.0))
    assert corrections(store, "last_v1") == (1, 1)
    assert training_rows(store, T + DAY)[9]["x"] == 70.0


@pytest.mark.slow
def test_known_then_is_exact_from_the_horizon_on(store: FeatureStore) -> None:
    late(store, (9, T, 50.0))
    horizon = datetime.now(UTC)
    late(store, (9, T, 60.0))
    moments = [horizon, datetime.now(UTC), horizon + DAY]
    values = [[row["x"] for row in training_rows(store, at, "then")] for at in moments]
    assert [found[9] for found in values] == [50.0, 60.0, 60.0]
    table = tables.load(store.catalog, "features.last_v1")
    layout = feature_layout(table)
    assert layout is not None
    with Leases(store._runtime, 0) as leases:
        assert compact(store._runtime, leases, table, layout, micros(horizon), dry_run=False).rows == 1
    assert corrections(store, "last_v1") == (1, 1)
    assert [[row["x"] for row in training_rows(store, at, "then")] for at in moments] == values
    said = store.catalog.load_table("features.last_v1").properties["featurestore.folded-before"]
    assert datetime.fromisoformat(said) == horizon


@pytest.mark.slow
def test_versions_that_the_source_would_bring_again_are_not_folded(store: FeatureStore) -> None:
    known = [{"k": 9, "at": T, "known": T + days * DAY, "x": float(days)} for days in (1, 2)]
    store.catalog.load_table("raw.s").append(pa.Table.from_pylist(known, SCHEMA))
    store.materialize()
    assert corrections(store, "versions_v1") == (2, 2)
    done = upkeep(store, drop_superseded_after=NOW)["features.versions_v1"]
    assert (done["dropped_rows"], done["compacted_files"]) == (0, 3)
    assert "superseded versions kept: the source has a created time for each" in done["note"]
    assert corrections(store, "versions_v1") == (2, 2)
    assert {run.view: run.rows_appended for run in store.materialize(start=T)}["versions"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("graceless")
def test_a_pinned_snapshot_keeps_its_corrections_and_its_state(store: FeatureStore) -> None:
    late(store, (9, T, 50.0))
    upkeep(store)
    spine = [{"k": 9, "t": T + DAY}, {"k": 4, "t": T + DAY}]
    made = [store.training_set("service", spine, "t", name=known, known=known) for known in ("now", "then")]
    late(store, (9, T, 60.0))
    for _ in range(2):
        upkeep(store, older_than=NOW, drop_superseded_after=NOW)
    for report in made:
        assert store.rebuild(report.id).digest == report.digest
        again = store.training_set("service", spine, "t", name="again", known=report.manifest["known"], snapshots=report.snapshots)
        assert again.manifest["views"] == report.manifest["views"]
    assert set(files(store, "training_sets.now")) == set(made[0].files())


@pytest.mark.slow
def test_a_running_backfill_keeps_its_files_until_it_is_abandoned(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    log = store.catalog.load_table("features.last_v1")
    ready = Path(log.location().removeprefix("file://")) / "data" / "run-0" / "ready.parquet"
    ready.parent.mkdir()
    ready.write_bytes(b"x")
    work = Checkpoint(run=0, start=None, upper=1, pins={}, base=log.metadata.current_snapshot_id, plan="", done=("1",), files=(str(ready),))
    with log.transaction() as change:
        change.set_properties({CHECKPOINT: work.to_property()})
    done = upkeep(store, older_than=NOW)["features.last_v1"]
    assert (done["compacted_files"], done["files"]) == (0, 0)
    assert "not compacted: a backfill is in progress" in done["note"]
    monkeypatch.setattr(maintain, "GRACE", NOW)
    planned = upkeep(store, older_than=NOW, dry_run=True)["features.last_v1"]
    assert ready.exists()
    given_up = upkeep(store, older_than=NOW)["features.last_v1"]
    assert "an interrupted backfill is abandoned" in given_up["note"]
    assert (planned["files"], planned["note"]) == (given_up["files"], f"{given_up['note']}; {done['note']}")
    assert not ready.parent.exists()
    assert given_up["compacted_files"] == 2
    assert CHECKPOINT not in store.catalog.load_table("features.last_v1").properties


@pytest.mark.slow
@pytest.mark.usefixtures("graceless")
def test_one_table_that_cannot_be_swept_does_not_keep_the_others(store: FeatureStore) -> None:
    store.catalog.rename_table("features.last_v1", "features.old")
    kept = store.catalog.load_table("features.old")
    store.catalog.create_table("features.last_v1", kept.schema(), location=kept.location())
    done = upkeep(store, older_than=NOW)
    assert "share the folder" in done["features.old"]["note"]
    assert done["features.versions_v1"]["compacted_files"] == 2


@pytest.mark.slow
def test_what_killed_queries_spilled_goes(store: FeatureStore) -> None:
    spill = store.settings.spill_path()
    for name, old in (("session-dead", True), ("session-young", False), ("notes", True)):
        (spill / name).mkdir(parents=True)
        (spill / name / "part.tmp").write_bytes(b"x" * 100)
        if old:
            for path in (spill / name / "part.tmp", spill / name):
                os.utime(path, (0, 0))
    with store._runtime.engine.session() as session:
        assert len(list(spill.glob("session-*"))) == 3, "a session's folder has a name that upkeep knows"
        assert upkeep(store, dry_run=True)["spill"]["files"] == 1
        assert (upkeep(store)["spill"]["files"], "spill" in upkeep(store)) == (1, False)
        assert session.batches(text_query("SELECT 1")).read_all().num_rows == 1
    assert sorted(path.name for path in spill.iterdir()) == ["notes", "session-young"]


def test_a_negative_age_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(home=tmp_path)
    with pytest.raises(RequestError, match=r"drop_superseded_after .* is negative"):
        store.maintain(drop_superseded_after=-HOUR)
    with pytest.raises(RequestError, match=r"older_than .* is negative"):
        store.maintain(older_than=-HOUR)


@pytest.mark.slow
def test_a_log_without_times_is_compacted_as_well(store: FeatureStore) -> None:
    load_source(store, "inference.plain", rows().select(["k", "x"]))
    plain = store.catalog.load_table("inference.plain")
    for number in (3, 1, 2):
        plain.append(rows((number, T, 0.5)).select(["k", "x"]))
    assert upkeep(store)["inference.plain"]["compacted_files"] == 3
    assert len(files(store, "inference.plain")) == 1
    assert sorted(store.catalog.load_table("inference.plain").scan().to_arrow()["k"].to_pylist()) == [1, 2, 3]
