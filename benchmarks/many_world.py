"""The store of `benchmarks.many`: three views over a source whose rows come late, are corrected and are deleted all the time."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg

KEYS = 40
FIRST_ROWS = 2000
BATCH = 20
SOURCE = "raw.events"
SERVICE = "service"
VIEWS = ("daily", "newest", "hourly")
T = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES = 300 * 24 * 60
STAMP = pa.timestamp("us", "UTC")
SCHEMA = pa.schema([("id", pa.int64()), ("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])


def declare() -> FeatureService:
    """A service over sums by the day, the newest value, and medians by the hour."""
    source, thing = Source("events", table=SOURCE, timestamp="at"), Entity("thing", keys="k")
    daily = {"n": agg.count(over=["1d", "7d"]), "total": agg.sum("x", over="7d")}
    return FeatureService(
        SERVICE,
        features=[
            FeatureView("daily", entity=thing, source=source, every="1d", features=daily),
            FeatureView("newest", entity=thing, source=source, features={"x": "x", "twice": "x * 2"}),
            FeatureView("hourly", entity=thing, source=source, every="1h", features={"top": agg.max("x", over="2h")}),
        ],
    )


def spine(rows: int, seed: int) -> pa.Table:
    """Rows at random keys and times, the same for the same seed."""
    chance = random.Random(seed)
    at = [T + timedelta(minutes=chance.randrange(MINUTES)) for _ in range(rows)]
    return pa.table({"k": [chance.randrange(KEYS + 1) for _ in range(rows)], "t": pa.array(at, STAMP)})


def open_world(store: FeatureStore, rows: pa.Table) -> None:
    """Load the source, and apply the definitions."""
    store.catalog.create_namespace_if_not_exists("raw")
    store.catalog.create_table(SOURCE, schema=rows.schema).append(rows)
    store.apply([declare()])


class Feeder:
    """Changes the source: new and late rows, corrections, deletions. No two rows share a key and a time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._times: set[int] = set()
        self._rows: dict[int, dict[str, Any]] = {}
        self.appended = self.corrected = self.deleted = 0

    def make(self, count: int) -> pa.Table:
        """New rows at random times, most of them before the watermark."""
        rows = []
        for _ in range(count):
            minute = self._chance.randrange(MINUTES)
            while minute in self._times:
                minute = self._chance.randrange(MINUTES)
            self._times.add(minute)
            at = T + timedelta(minutes=minute)
            number = len(self._times)
            self._rows[number] = {"id": number, "k": self._chance.randrange(KEYS), "at": at, "x": self._chance.random()}
            rows.append(self._rows[number])
        return pa.Table.from_pylist(rows, SCHEMA)

    def change(self, store: FeatureStore) -> None:
        """One change of the source. The catalog's own retries and those here tell apart what landed."""
        table = store.catalog.load_table(SOURCE)
        what = self._chance.random()
        if what < 0.6:
            table.append(self.make(BATCH))
            self.appended += BATCH
            return
        row = self._rows[self._chance.choice(list(self._rows))]
        for _ in range(20):
            try:
                if what < 0.9:
                    changed = {**row, "x": self._chance.random()}
                    table.overwrite(pa.Table.from_pylist([changed], SCHEMA), f"id = {row['id']}")
                    self._rows[row["id"]] = changed
                    self.corrected += 1
                else:
                    table.delete(f"id = {row['id']}")
                    del self._rows[row["id"]]
                    self.deleted += 1
                return
            except CommitFailedException:
                table.refresh()
        raise CommitFailedException("the source could not be changed")

    def rows(self) -> pa.Table:
        """What the source must have."""
        return pa.Table.from_pylist(list(self._rows.values()), SCHEMA)
