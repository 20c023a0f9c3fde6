"""Deletions are published: the previous row comes back, or the key has none, also if a publish is repeated."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.compiler.log_diff import DELETED
from featurestore.lakehouse import tables, writes
from featurestore.pipelines.materialization import publish
from featurestore.records import feature_table
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema([("id", pa.int64()), ("k", pa.string()), ("at", STAMP), ("x", pa.float64())])
ENTITIES = [{"k": "a"}, {"k": "b"}, {"k": "c"}]
AFTER = [{**entity, "t": T + timedelta(days=20)} for entity in ENTITIES]


def rows(*given: tuple[int, str, int, float | None]) -> pa.Table:
    return pa.Table.from_pylist([{"id": id, "k": k, "at": T + timedelta(days=day), "x": x} for id, k, day, x in given], SCHEMA)


@pytest.fixture
def store(tmp_path: Path, url: str) -> Iterator[FeatureStore]:
    """Two rows of a, one of b, two of c, of which the newer has no value."""
    with FeatureStore(settings=Settings(home=tmp_path / "home", online=url)) as opened:
        load_source(opened, "raw.s", rows((1, "a", 1, 1.0), (2, "a", 3, -0.0), (3, "b", 2, 3.0), (4, "c", 1, 4.0), (5, "c", 2, None)))
        source = Source("s", table="raw.s", timestamp="at")
        view = FeatureView("v", entity=Entity("e", keys="k"), source=source, features=["x"])
        opened.apply([FeatureService("svc", features=[view])])
        opened.materialize()
        yield opened


def online_rows(store: FeatureStore) -> tuple[list[Any], tuple[str, ...]]:
    """The values online, which are those offline, and their status."""
    features = store.online_features("svc", ENTITIES)
    values = [row[0] for row in features.rows]
    assert repr(values) == repr(store.point_in_time("svc", AFTER, "t").column("x").to_pylist())
    return values, features.status["v"]


@pytest.mark.slow
def test_the_row_before_comes_back_and_a_key_without_rows_is_not_found(store: FeatureStore) -> None:
    assert repr(online_rows(store)) == repr(([-0.0, 3.0, None], ("PRESENT",) * 3))
    table = store.catalog.load_table("raw.s")
    table.delete("id in (2, 3, 5)")
    (run,) = store.materialize()
    assert (run.rows_appended, run.corrections) == (3, 3)
    assert online_rows(store) == ([1.0, None, 4.0], ("PRESENT", "NOT_FOUND", "PRESENT"))
    table.upsert(rows((1, "a", 0, 1.5)), join_cols=["id"])
    store.materialize()
    assert online_rows(store) == ([1.5, None, 4.0], ("PRESENT", "NOT_FOUND", "PRESENT"))
    # A row that comes back is there again, as is one that is newer.
    table.append(rows((3, "b", 2, 3.0), (6, "a", 3, 7.0)))
    store.materialize()
    assert online_rows(store) == ([7.0, 3.0, 4.0], ("PRESENT",) * 3)
    assert [run.rows_appended for run in store.materialize()] == [0]
    table.overwrite(rows((7, "c", 1, 9.0)))
    store.materialize()
    assert online_rows(store) == ([None, None, 9.0], ("NOT_FOUND", "NOT_FOUND", "PRESENT"))


@pytest.mark.slow
def test_a_publish_that_never_came_is_made_up_for(store: FeatureStore, tmp_path: Path) -> None:
    """Another store materializes and publishes elsewhere, so that this one's online store is behind by several snapshots."""
    catalog: dict[str, Any] = {"type": "sql", "uri": f"sqlite:///{tmp_path}/home/catalog.db"}
    warehouse, online = f"file://{tmp_path}/home/warehouse", f"lmdb://{tmp_path}/other"
    elsewhere = Settings(home=tmp_path / "other", catalog=catalog, warehouse=warehouse, online=online)
    table = store.catalog.load_table("raw.s")
    with FeatureStore(settings=elsewhere) as other:
        table.delete("id = 2")
        other.materialize()
        table.append(rows((6, "a", 5, 6.0), (7, "b", 6, 7.0)))
        other.materialize()
        table.delete("id in (3, 6)")
        other.materialize()
        assert online_rows(other) == ([1.0, 7.0, None], ("PRESENT",) * 3)
    assert repr(store.online_features("svc", ENTITIES).rows) == repr(((-0.0,), (3.0,), (None,)))
    store.materialize()
    assert online_rows(store) == ([1.0, 7.0, None], ("PRESENT",) * 3)


@pytest.mark.slow
def test_where_very_many_keys_lose_rows_all_are_published(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FEW_KEYS", 1)
    store.catalog.load_table("raw.s").delete("id in (2, 3)")
    (run,) = store.materialize()
    assert run.published == 2
    assert online_rows(store) == ([1.0, None, None], ("PRESENT", "NOT_FOUND", "PRESENT"))


@pytest.mark.slow
def test_known_then_sees_a_row_until_its_deletion_was_known(store: FeatureStore) -> None:
    before = datetime.now(UTC)
    store.catalog.load_table("raw.s").delete("id in (2, 3)")
    store.materialize()
    table = store.catalog.load_table("features.v_v1").scan().to_arrow()
    tombstones = [row for row in table.to_pylist() if row[DELETED]]
    assert {(row["k"], row["x"]) for row in tombstones} == {("a", None), ("b", None)}
    known = tombstones[0]["created_timestamp"]
    moments = [before, known - timedelta(microseconds=1), known]
    spine = [{"k": key, "t": moment} for key in ("a", "b") for moment in moments]
    assert repr(store.point_in_time("svc", spine, "t", known="then").column("x").to_pylist()) == repr([-0.0, -0.0, 1.0, 3.0, 3.0, None])
    assert store.point_in_time("svc", spine, "t").column("x").to_pylist() == [1.0] * 3 + [None] * 3


@pytest.mark.slow
def test_rows_of_nulls_of_before_stay_in_their_snapshots_and_go_with_the_next_computation(store: FeatureStore) -> None:
    """An older release said with a row of NULLs that a row was gone."""
    table = tables.load(store.catalog, "features.v_v1")
    now = datetime.now(UTC)
    gone = pa.table(
        {"k": ["a"], "feature_timestamp": pa.array([T + timedelta(days=3)], STAMP), "created_timestamp": pa.array([now], STAMP)}
    )
    gone = gone.append_column("x", pa.nulls(1, pa.float64()))
    state = replace(feature_table.state_of(table.properties), corrections=1).to_properties()
    batches = gone.select(tables.arrow_schema(table).names).to_reader()
    writes.append(table, batches, summary=state, properties=state)
    source = store.catalog.load_table("raw.s")
    source.delete("id = 2")
    made = store.training_set("svc", AFTER, "t", name="before")
    assert made.to_arrow().column("x").to_pylist() == [None, 3.0, None]
    store.materialize("v", start=T, end=now)
    assert online_rows(store) == ([1.0, 3.0, None], ("PRESENT",) * 3)
    assert DELETED in store.catalog.load_table("features.v_v1").schema().column_names
    assert store.rebuild(made.id).digest == made.digest
    later = store.training_set("svc", AFTER, "t", name="after")
    store.maintain(drop_superseded_after=timedelta(0))
    assert store.rebuild(later.id).digest == later.digest
    assert online_rows(store) == ([1.0, 3.0, None], ("PRESENT",) * 3)


@pytest.mark.slow
def test_a_grid_has_the_keys_that_are_there(store: FeatureStore) -> None:
    grid = {"start": "2026-03-05", "end": "2026-03-05", "every": "1d"}
    assert store.point_in_time("svc", **grid).column("k").to_pylist() == ["a", "b", "c"]  # type: ignore[arg-type]
    store.catalog.load_table("raw.s").delete("id = 3")
    store.materialize()
    assert store.point_in_time("svc", **grid).column("k").to_pylist() == ["a", "c"]  # type: ignore[arg-type]
    # In March nobody knew that it would be deleted.
    assert store.point_in_time("svc", **grid, known="then").column("k").to_pylist() == ["a", "b", "c"]  # type: ignore[arg-type]
