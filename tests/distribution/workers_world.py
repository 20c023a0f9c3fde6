"""A store with every aggregation, entities of several keys, NULL keys, and values that sums must be exact for; and its history."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.values.arguments import Known
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
VIEWS = ("everything", "pairs", "rows", "known", "ids")
VALUES = [1e14, -1e14, 0.1, -0.0, 0.0, float("nan"), float("inf"), 1.2e-12, None, 3.0]
KNOWN: tuple[Known, ...] = ("now", "then")
SCHEMA = pa.schema(
    [
        ("a", pa.string()),
        ("b", pa.int32()),
        ("u", pa.string()),
        ("at", STAMP),
        ("seen", STAMP),
        ("x", pa.float64()),
        ("n", pa.int64()),
        ("price", pa.decimal128(20, 4)),
    ]
)


def events(first: int, last: int, seed: int = 0) -> pa.Table:
    """Events of a few keys, some of them NULL, of which one has half of the rows; two of a key may be at the same time."""
    chance, rows = np.random.default_rng(seed), []
    for hour in range(first, last):
        key = "big" if chance.random() < 0.5 else f"k{chance.integers(9)}"
        at = T + timedelta(hours=hour // 2)
        rows.append(
            {
                "a": None if chance.random() < 0.02 else key,
                "b": None if chance.random() < 0.02 else int(chance.integers(4)),
                "u": str(uuid.UUID(int=int(chance.integers(5)))),
                "at": at,
                "seen": at + timedelta(minutes=int(chance.integers(90))),
                "x": VALUES[chance.integers(len(VALUES))],
                "n": int(chance.integers(-(1 << 50), 1 << 50)),
                "price": Decimal(int(chance.integers(10**9))) / 10000,
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def declare() -> list[FeatureService]:
    """A service of each view, and one of all of them."""
    source = Source("s", table="raw.s", timestamp="at")
    created = Source("c", table="raw.s", timestamp="at", created="seen")
    one, two, third = Entity("one", keys="a"), Entity("two", keys=["a", "b"]), Entity("third", keys="u")
    over = ["1d", "7d"]
    features: dict[str, Any] = {
        "count": agg.count(over=over),
        "sum": agg.sum("x", over=over),
        "mean": agg.mean("x", over=over),
        "low": agg.min("x", over=over),
        "high": agg.max("n", over=over),
        "total": agg.sum("n", over="7d"),
        "spent": agg.sum("price", over="7d"),
        "last": agg.last("x", over=over),
        "first": agg.first("n", over=over),
        "kinds": agg.count_distinct("x", over="7d"),
        "middle": agg.percentile("n", q=0.5, over="7d"),
        "spread": agg.stddev("n", over="1d"),
        "latest": agg.last_n("x", n=3, over="7d"),
        "large": agg.count(over="7d", where="x > 1"),
    }
    pairs = {
        "pair": agg.sum("x", over=["1d", "all"]),
        "met": agg.count(over="3d"),
        "recent": agg.sum("x", last=3),
        "sequence": agg.last_n("n", n=2),
    }
    views = [
        FeatureView("everything", entity=one, source=source, every="1d", features=features),
        FeatureView("pairs", entity=two, source=created, every="12h", features=pairs),
        FeatureView("rows", entity=one, source=source, features=["x", "n"], ttl="2d"),
        FeatureView("known", entity=two, source=created, features={"known_x": "x", "price": "price"}),
        FeatureView("ids", entity=third, source=source, features={"half": "n / 2", "id_x": "x"}),
    ]
    return [
        FeatureService("all", features=views),
        FeatureService("few", features=[views[0], views[3]]),
        FeatureService("known", features=[views[3]]),
    ]


def spine(rows: int = 400) -> pa.Table:
    """Rows of known, unknown and missing keys, at times before, within and after the history; some at the times of feature rows."""
    chance = np.random.default_rng(7)
    hours = [int(chance.integers(-48, 24 * 36)) for _ in range(rows)]
    columns = {
        "row_id": pa.array(range(rows)),
        "b": pa.array([None if chance.random() < 0.05 else int(chance.integers(5)) for _ in hours], pa.int64()),
        "a": pa.array([None if chance.random() < 0.05 else f"k{chance.integers(11)}" if chance.random() < 0.6 else "big" for _ in hours]),
        "u": pa.array([str(uuid.UUID(int=int(chance.integers(6)))) for _ in hours]),
        "t": pa.array([None if chance.random() < 0.02 else T + timedelta(hours=hour) for hour in hours], STAMP),
    }
    return pa.table(columns)


def build_sets(store: FeatureStore) -> list[str]:
    """The ids of training sets of both services, with what is known now and with what was known then."""
    return [
        store.training_set(service, spine(), "t", name=f"{service}_{known}", known=known).id
        for service in ("all", "few")
        for known in KNOWN
    ]


@contextmanager
def opened(home: Path, engine: str | None = None, **settings: Any) -> Iterator[FeatureStore]:
    """The store at this folder; its workers compute also what is small."""
    with FeatureStore(settings=Settings(home=home, engine=engine, engine_from_rows=0, **settings)) as store:
        yield store


def fill(store: FeatureStore) -> None:
    """Load the events and apply the definitions."""
    table = load_source(store, "raw.s", events(0, 600))
    table.append(events(600, 1500, seed=1))
    store.apply(declare())


def live(store: FeatureStore, views: list[str] | None = None) -> None:
    """A history of these views, or all: a first run, late rows, rows that vanish, and rows that are newer than both."""
    store.materialize(views, end=T + timedelta(days=20))
    raw = store.catalog.load_table("raw.s")
    raw.append(events(100, 160, seed=2))
    store.materialize(views, end=T + timedelta(days=24))
    raw.refresh()
    raw.delete("a = 'k3'")
    store.materialize(views, end=T + timedelta(days=32))


def stored(store: FeatureStore) -> dict[str, list[str]]:
    """The rows of each feature table as text that shows every bit; times of runs are shown as the number of the run."""
    tables: dict[str, list[str]] = {}
    for view in VIEWS:
        rows = store.catalog.load_table(f"features.{view}_v1").scan().to_arrow().to_pylist()
        runs = sorted({row["created_timestamp"] for row in rows if row["created_timestamp"] > T + timedelta(days=60)})
        for row in rows:
            if row["created_timestamp"] in runs:
                row["created_timestamp"] = runs.index(row["created_timestamp"])
        tables[view] = sorted(repr(sorted(row.items())) for row in rows)
    return tables
