"""After any history of a store, each of its training sets can be rebuilt from the catalog alone."""

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import Conflict
from featurestore.lakehouse import compaction
from featurestore.pipelines.maintenance import maintain
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEYS = 4
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("known", STAMP), ("x", pa.float64())])

# A process that has the catalog, and a home without anything in it.
AFTERWARDS = """
import sys
from featurestore import FeatureStore, Settings
with FeatureStore(settings=Settings(home={home!r}, catalog={{"type": "sql", "uri": {uri!r}}}, warehouse={warehouse!r}, threads=1)) as store:
    for id in sys.stdin.read().split():
        print(id, store.rebuild(id).digest)
"""


class Life:
    """A store, and the training sets that it made with their rows. Each method but the last is something that happens to it."""

    def __init__(self, home: Path, seed: int) -> None:
        self.dice, self.made = random.Random(seed), dict[str, tuple[TrainingSet, pa.Table]]()
        self.windows, self.ttl, self.factor = "6h", "12h", 1
        self.hours = 0
        self.store = FeatureStore(settings=Settings(home=home))
        load_source(self.store, "raw.s", SCHEMA.empty_table())
        self.store.apply([self.declared()])
        self.come()
        self.run()

    def declared(self) -> FeatureService:
        """The service as it is at the moment."""
        thing, source = Entity("thing", keys="k"), Source("s", table="raw.s", timestamp="at")
        told = Source("told", table="raw.s", timestamp="at", created="known")
        features: dict[str, Any] = {"n": agg.count(over="6h"), "sum": agg.sum("x", over=self.windows)}
        counts = FeatureView("counts", entity=thing, source=source, every="1h", features=features)
        last = FeatureView("last", entity=thing, source=source, ttl=self.ttl, features={"x": f"x * {self.factor}"})
        return FeatureService("all", features=[counts, last, FeatureView("told", entity=thing, source=told, features={"y": "x"})])

    def rows(self, first: int, last: int) -> pa.Table:
        """An event an hour, known some hours later, with a value that is new each time."""
        rows = [
            {
                "k": self.dice.randrange(KEYS),
                "at": T + hour * HOUR,
                "known": T + (hour + self.dice.randrange(9)) * HOUR,
                "x": self.dice.random(),
            }
            for hour in range(first, last)
        ]
        return pa.Table.from_pylist(rows, SCHEMA)

    def come(self) -> None:
        """New rows."""
        self.store.catalog.load_table("raw.s").append(self.rows(self.hours, self.hours + 8))
        self.hours += 8

    def come_late(self) -> None:
        """Rows of hours that were materialized."""
        first = self.dice.randrange(self.hours)
        self.store.catalog.load_table("raw.s").append(self.rows(first, first + 3))

    def go(self) -> None:
        """One key's rows from some hour on are deleted."""
        table = self.store.catalog.load_table("raw.s")
        if rows := table.scan().to_arrow().to_pylist():
            row = self.dice.choice(rows)
            table.delete(f"k = {row['k']} and at >= '{row['at'].isoformat()}'")

    def change(self) -> None:
        """All values of the source are others."""
        table = self.store.catalog.load_table("raw.s")
        rows = table.scan().to_arrow()
        table.overwrite(rows.set_column(3, "x", pa.array([self.dice.random() for _ in range(rows.num_rows)])).cast(SCHEMA))

    def run(self) -> None:
        """Whatever came is materialized."""
        self.store.materialize()

    def define(self) -> None:
        """A view means something else."""
        self.windows = self.dice.choice(["3h", "6h", "9h"])
        self.ttl = self.dice.choice(["12h", "48h"])
        self.factor = self.dice.randrange(1, 3)
        self.store.apply([self.declared()])

    def train(self) -> None:
        """A training set under one of a few names, as of now or then, in parts or not."""
        known: Literal["now", "then"] = self.dice.choice(["now", "then"])
        rows = self.dice.randrange(1, 30)
        times = [T + self.dice.randrange(self.hours * 60) * HOUR / 60 for _ in range(rows)]
        spine = pa.table({"k": [self.dice.randrange(KEYS + 1) for _ in range(rows)], "t": pa.array(times, STAMP)})
        split = self.dice.choice([None, {"train": 0.5, "test": 0.5}])
        made = self.store.training_set("all", spine, "t", name=f"set{self.dice.randrange(3)}", known=known, split=split)
        self.made[made.id] = made, made.to_arrow()

    def keep_up(self) -> None:
        """Maintenance without a grace period, which sometimes drops superseded versions."""
        self.store.maintain(older_than=timedelta(0), drop_superseded_after=self.dice.choice([None, timedelta(0)]))

    def remove(self) -> None:
        """Versions that nobody needs any more go, and no others: when all is materialized, nobody reads an older one."""
        self.run()
        for view in ("counts", "last"):
            *older, newest = sorted(version["version"] for version in self.store.view(view)["versions"])
            pinned = [number for number in older if any(f"{view}_v{number}" in made.snapshots for made, _ in self.made.values())]
            for version in (*pinned, newest):
                with pytest.raises(Conflict):
                    self.store.remove_version(view, version)
            for version in older:
                if version not in pinned:
                    self.store.remove_version(view, version)

    def look_back(self) -> None:
        """Every training set, as it was, here and in a fresh process that knows nothing but the catalog."""
        for id, (made, rows) in self.made.items():
            assert self.store.get_training_set(id).to_arrow() == rows
            assert self.store.rebuild(id).digest == made.digest
        home = self.store.settings.home
        code = AFTERWARDS.format(home=str(home / "other"), uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")
        asked = "\n".join(self.made)
        done = subprocess.run(
            [sys.executable, "-c", code], input=asked, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
        )
        assert dict(line.split() for line in done.stdout.splitlines()) == {id: made.digest for id, (made, _) in self.made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_every_training_set_of_a_long_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    life = Life(tmp_path, seed)
    deeds = [
        life.come,
        life.come_late,
        life.go,
        life.change,
        life.run,
        life.run,
        life.define,
        life.train,
        life.train,
        life.keep_up,
        life.remove,
    ]
    for deed in life.dice.sample(2 * deeds, 2 * len(deeds)):
        deed()
    life.remove()
    life.keep_up()
    assert len(life.made) > 3
    life.look_back()
