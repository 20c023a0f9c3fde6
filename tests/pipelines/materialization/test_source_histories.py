"""After any changes to a source, a store with incremental runs equals one that is filled at the end."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.compiler.log_diff import DELETED
from featurestore.lakehouse import compaction, tables
from tests.worlds import STAMP

T = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
KEYS = range(3)
SCHEMA = pa.schema([("id", pa.int64()), ("k", pa.int64()), ("at", STAMP), ("known", STAMP), ("x", pa.float64())])
END = T + timedelta(hours=30)
NAMESPACES = ("features", "training_sets", "registry", "inference")

Row = dict[str, Any]


def services(source: str = "raw.s") -> list[FeatureService]:
    """The source of `plain` has no created time, that of `told` has one."""
    thing, plain = Entity("thing", keys="k"), Source("plain", table=source, timestamp="at")
    told = Source("told", table=source, timestamp="at", created="known")
    windows: dict[str, Any] = {"n": agg.count(over=["1h", "3h"]), "sum": agg.sum("x", over="3h"), "recent": agg.last_n("x", n=2, over="3h")}
    made = [
        FeatureView("newest", entity=thing, source=plain, features={"x": "x"}),
        FeatureView("brief", entity=thing, source=plain, ttl="2h", features={"brief": "x"}),
        FeatureView("counts", entity=thing, source=plain, every="1h", features=windows),
    ]
    versions = [
        FeatureView("versions", entity=thing, source=told, features={"y": "x"}),
        FeatureView("known_counts", entity=thing, source=told, every="1h", features={"m": agg.count(over="2h")}),
    ]
    return [FeatureService("plain", features=made), FeatureService("told", features=versions)]


class Life:
    """A store and its source; each of `deeds` is something that happens to the source, and `run` materializes it."""

    def __init__(self, home: Path, seed: int, **settings: Any) -> None:
        self.home, self.dice, self.next = home, random.Random(seed), 0
        self.settings = settings
        self.store = self.opened("old")
        self.store.catalog.create_namespace("raw")
        self.create()
        self.store.apply(services())
        self.seen: list[tuple[datetime, list[str]]] = []

    def opened(self, name: str) -> FeatureStore:
        """A store of its own on the catalog that all share."""
        spaces: dict[str, Any] = {f"{kind}_namespace": f"{kind}_{name}" for kind in NAMESPACES}
        catalog = {"type": "sql", "uri": f"sqlite:///{self.home}/catalog.db"}
        return FeatureStore(
            settings=Settings(home=self.home / name, catalog=catalog, warehouse=f"{self.home}/warehouse", **spaces, **self.settings)
        )

    @property
    def table(self) -> Any:
        return self.store.catalog.load_table("raw.s")

    def rows(self) -> list[Row]:
        stored: list[Row] = self.table.scan().to_arrow().to_pylist()
        return stored

    def create(self) -> None:
        """Drop the source, if it exists, and create it again."""
        if self.store.catalog.table_exists("raw.s"):
            self.store.catalog.drop_table("raw.s")
        self.store.catalog.create_table("raw.s", schema=SCHEMA).append(self.made(4))

    def made(self, count: int, ids: Sequence[int] = ()) -> pa.Table:
        """New rows, or others under these ids: a moment of a day, known some time later, seldom two of one key at the same moment."""
        rows = []
        for place in range(count):
            at = T + self.dice.randrange(24 * 4) * QUARTER
            known = at + self.dice.randrange(9) * QUARTER
            value = self.dice.choice([0.0, -0.0, self.dice.random()])
            rows.append(
                {"id": ids[place] if ids else self.next, "k": self.dice.choice(KEYS), "at": at, "known": known, "x": value},
            )
            self.next += not ids
        return pa.Table.from_pylist(rows, SCHEMA)

    def append(self) -> None:
        self.table.append(self.made(3))

    def upsert(self) -> None:
        """Some rows are others now, at other times, of other keys."""
        ids = [row["id"] for row in self.rows()]
        picked = self.dice.sample(ids, min(2, len(ids)))
        if picked:
            self.table.upsert(self.made(len(picked), picked), join_cols=["id"])

    def delete(self) -> None:
        """The newest row of a key, or all of it."""
        if rows := self.rows():
            key = self.dice.choice(rows)["k"]
            newest = max((row for row in rows if row["k"] == key), key=lambda row: row["at"])
            self.table.delete(f"id = {newest['id']}" if self.dice.random() < 0.7 else f"k = {newest['k']}")

    def overwrite(self) -> None:
        """All rows of one key go, and others come."""
        if rows := self.rows():
            self.table.overwrite(self.made(2), overwrite_filter=f"k = {self.dice.choice(rows)['k']}")

    def replace(self) -> None:
        """Every row goes, and others come, or the same with other zeros."""
        rows = self.rows()
        if rows:
            kept = pa.Table.from_pylist([{**row, "x": -row["x"] if row["x"] == 0 else row["x"]} for row in rows], SCHEMA)
            self.table.overwrite(kept if self.dice.random() < 0.5 else self.made(3))

    def roll_back(self) -> None:
        """The source is as it was at some time before."""
        before = self.dice.choice(self.table.snapshots())
        self.table.manage_snapshots().set_current_snapshot(before.snapshot_id).commit()

    def run(self) -> None:
        self.store.materialize(end=END)
        rows = self.store.online_features("plain", [{"k": key} for key in KEYS]).to_arrow().drop_columns(["brief"])
        self.seen.append((datetime.now(UTC), [repr(tuple(row.values())) for row in rows.to_pylist()]))

    def upkeep(self) -> None:
        """Small files become one, and old corrections are dropped."""
        self.store.maintain(older_than=timedelta(0), drop_superseded_after=self.dice.choice([None, timedelta(0)]))

    def online(self, store: FeatureStore) -> dict[str, Any]:
        """What lookups say, to the sign of a zero: values, status, times."""
        answers = {service.name: store.online_features(service.name, [{"k": key} for key in KEYS]) for service in services()}
        return {name: (repr(one.rows), dict(one.status), dict(one.timestamps)) for name, one in answers.items()}

    def then(self, at: datetime) -> list[str]:
        """What was known of the plain source at a time, key by key; as `online` has it, but for the ttl, which goes by the present."""
        spine = pa.table({"k": pa.array(KEYS), "t": pa.array([at] * len(KEYS), STAMP)})
        rows = self.store.point_in_time("plain", spine, "t", known="then").drop_columns(["k", "t", "brief"])
        return [repr(tuple(row.values())) for row in rows.to_pylist()]

    def answers(self, store: FeatureStore) -> list[Any]:
        """What a store says at every quarter of an hour of the day and some hours more."""
        moments = [T + number * QUARTER for number in range(-2, 30 * 4)]
        spine = pa.table({"k": pa.array([key for key in KEYS for _ in moments]), "t": pa.array(moments * len(KEYS), STAMP)})
        rows = [store.point_in_time(service.name, spine, "t").to_pylist() for service in services()]
        grid = store.point_in_time("plain", start=T, end=T + timedelta(hours=12), every="4h")
        return [repr(row) for found in rows for row in found] + [repr(grid.to_pylist())]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_any_life_of_a_source_ends_as_one_run_in_a_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    life = Life(tmp_path, seed, **({"chunk_rows": 2} if seed % 2 else {}))
    life.run()
    deeds = [life.append, life.upsert, life.delete, life.overwrite, life.replace, life.roll_back, life.create]
    for number in range(9):
        life.dice.choice(deeds)()
        if life.dice.random() < 0.7:
            life.run()
        if seed > 1 and number == 5:
            life.upkeep()
            life.seen.clear()
    life.run()
    new = life.opened("new")
    new.apply(services())
    new.materialize(end=END)
    for old, other in zip(life.answers(life.store), life.answers(new), strict=True):
        assert old == other
    for at, online in life.seen:
        assert life.then(at) == online, f"known at {at}"
    assert life.online(life.store) == life.online(new)
    runs = life.store.materialize(end=END)
    assert [run.rows_appended for run in runs] == [0] * 5


@pytest.mark.slow
def test_a_run_that_died_before_its_first_tombstone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has the column already, and no snapshot of it: reading, runs and upkeep go on."""
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    life = Life(tmp_path, 0)
    life.run()
    life.append()
    life.run()
    answers = life.answers(life.store)
    for view in ("newest", "counts"):
        tables.add_column(tables.load(life.store.catalog, f"features_old.{view}_v1"), DELETED, pa.bool_())
    assert life.answers(life.store) == answers
    upkeep = {report["table"]: report["compacted_files"] for report in life.store.maintain()}
    assert upkeep["features_old.newest_v1"] > 1
    assert life.answers(life.store) == answers
    life.table.delete("k = 1")
    life.run()
    new = life.opened("new")
    new.apply(services())
    new.materialize(end=END)
    assert life.answers(life.store) == life.answers(new) != answers
