"""Histories of a store with maintenance: pinned data are unchanged, and values equal those of a store without maintenance."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyiceberg.table import Table

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.lakehouse import compaction, scans, tables
from featurestore.pipelines.maintenance import maintain
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests.granting import grant
from tests.worlds import STAMP, load_source, on_a_store

HOUR = 3_600_000_000
BASE = 480_000 * HOUR
NOW = timedelta(0)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("known", STAMP), ("x", pa.int64())])
EVENTS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0, 1, 2, 800]), st.integers(0, 9)), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), EVENTS),
        st.tuples(st.just("upkeep"), st.booleans()),
        st.tuples(st.just("train"), st.sampled_from(["now", "then"])),
    ),
    min_size=3,
    max_size=5,
)
ONE: list[tuple[int, int, int]] = [(1, 0, 1), (2, 1, 1)]
COUNTER = itertools.count()


@dataclass
class World:
    """A store, the training sets it made with their rows, and the rows of every snapshot that they pin."""

    home: Path
    store: FeatureStore
    events: list[tuple[int, int, int]] = field(default_factory=list)
    made: list[tuple[TrainingSet, pa.Table, dict[str, pa.Table]]] = field(default_factory=list)

    def run(self, events: list[tuple[int, int, int]]) -> None:
        """Late rows and corrections, and a run that takes them up."""
        rows = [{"k": k, "at": BASE + hour * HOUR, "known": BASE + (hour + x) * HOUR, "x": x} for k, hour, x in events]
        self.store.catalog.load_table("raw.s").append(pa.Table.from_pylist(rows, SCHEMA))
        self.store.materialize()
        self.events += events

    def upkeep(self, drop: bool) -> None:
        """Upkeep with nobody else about, after which every file is reached, and every file that is reached is there."""
        done = self.store.maintain(older_than=NOW, drop_superseded_after=NOW if drop else None)
        assert not any(one["note"] for one in done if "superseded versions kept" not in (one["note"] or ""))
        planned = self.store.maintain(older_than=NOW, dry_run=True)
        assert sum(one["compacted_files"] + one["dropped_rows"] for one in planned) == 0
        for one in self.store.maintain(older_than=NOW):
            table = self.store.catalog.load_table(one["table"])
            there = {str(path) for folder in ("data", "metadata") for path in (home_of(table) / folder).rglob("*") if path.is_file()}
            assert there == reachable_files(table), one["table"]

    def train(self, known: Any) -> None:
        """A training set, and what it pins."""
        made = self.store.training_set("service", spine(), "t", name=f"{known}{len(self.made)}", known=known)
        pinned = {name: content(self.store, name, snapshot) for name, snapshot in made.snapshots.items()}
        self.made.append((made, made.to_arrow(), pinned))


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """Two files are many, and nobody else reads or writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "MIN_SMALL_FILES", 2)
        patch.setattr(maintain, "GRACE", NOW)
        yield


def declare() -> FeatureService:
    thing, source = Entity("thing", keys="k"), Source("s", table="raw.s", timestamp="at")
    counts = FeatureView("counts", entity=thing, source=source, every="1h", features={"n": agg.count(over="2h")})
    last = FeatureView("last", entity=thing, source=source, features=["x"])
    told = Source("told", table="raw.s", timestamp="at", created="known")
    return FeatureService("service", features=[counts, last, FeatureView("told", entity=thing, source=told, features={"y": "x"})])


def spine() -> pa.Table:
    moments = [BASE + hour * HOUR + 5 for hour in (-1, 0, 1, 2, 3, 4, 800, 900)]
    return pa.table({"k": [k for k in (1, 2, 3) for _ in moments], "t": pa.array(moments * 3, STAMP)})


def content(store: FeatureStore, name: str, snapshot_id: int | None) -> pa.Table:
    rows = scans.read_snapshot(grant(tables.load(store.catalog, f"features.{name}")), snapshot_id).read_all()
    return rows.sort_by([(column, "ascending") for column in ("k", "feature_timestamp", "created_timestamp")])


def home_of(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def reachable_files(table: Table) -> set[str]:
    """Every file that the table's metadata name, by Iceberg's own reading of them."""
    files = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.snapshots():
        files.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            files.add(manifest.manifest_path)
            files |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {path.removeprefix("file://") for path in files}


@pytest.mark.slow
@on_a_store(2)
@given(steps=STEPS)
@example(steps=[("run", ONE), ("train", "now"), ("run", [(1, 0, 2)]), ("train", "then"), ("upkeep", True), ("run", ONE), ("upkeep", True)])
@example(steps=[("run", ONE), ("upkeep", False), ("run", [(1, 0, 7), (3, 800, 1)]), ("upkeep", False), ("train", "now"), ("run", ONE)])
def test_upkeep_takes_nothing_away(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]) -> None:
    home = tmp_path_factory.mktemp(f"world{next(COUNTER)}")
    with FeatureStore(home=home) as store:
        world = World(home, store)
        load_source(store, "raw.s", SCHEMA.empty_table())
        store.apply([declare()])
        for action, argument in [*steps, ("upkeep", False)]:
            getattr(world, action)(argument)
        for made, rows, pinned in world.made:
            assert store.get_training_set(made.id).to_arrow() == rows
            assert store.rebuild(made.id).digest == made.digest
            assert {name: content(store, name, snapshot) for name, snapshot in made.snapshots.items()} == pinned
        assert [(run.rows_appended, run.published) for run in store.materialize()] == [(0, 0)] * 3
        compare(world, home)


def compare(world: World, home: Path) -> None:
    """The newest values, offline and online, beside a store of the same source that has known no upkeep."""
    settings = Settings(home=home, features_namespace="fresh", registry_namespace="anew", online=f"lmdb://{home / 'fresh'}")
    with FeatureStore(settings=settings) as fresh:
        fresh.apply([declare()])
        fresh.materialize()
        found, expected = (one.point_in_time("service", spine(), "t") for one in (world.store, fresh))
        assert found == expected
        keys = [{"k": k} for k in (1, 2, 3)]
        assert world.store.online_features("service", keys).rows == fresh.online_features("service", keys).rows
    for name in ("counts_v1", "last_v1", "told_v1"):
        table = world.store.catalog.load_table(f"features.{name}")
        stored = content(world.store, name, table.metadata.current_snapshot_id)
        versions = stored.num_rows - stored.group_by(["k", "feature_timestamp"]).aggregate([]).num_rows
        assert int(table.properties.get("featurestore.corrections") or 0) == versions, name
