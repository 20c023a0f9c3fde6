"""Spines of every kind and form against the brute-force oracle: several views, one of them twice, over random rows."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.values import times
from tests import oracle
from tests.worlds import STAMP, load_source, on_a_store

SECOND = 1_000_000
BASE = 1_700_000_000 * SECOND
TTL, GRID, WINDOWS = 10 * SECOND, 5 * SECOND, (10 * SECOND, 20 * SECOND)
FIRST, LAST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND - 1
ROWS = pa.schema([("k1", pa.string()), ("k2", pa.int64()), ("at", STAMP), ("made", STAMP), ("x", pa.int64()), ("y", pa.string())])
FEATURES = ["x", "y", "other_x", "other_y", "n_10s", "n_20s", "last_20s", "bare_x", "nothing"]
INTERNAL = ["row_id", "feature_timestamp", "created_timestamp", "t", "__fs", "k", "s", "f", "v0", "log", "spine", "at", "made", "a b"]
FIRSTS, SECONDS = st.sampled_from(["a", "ab", "b", None, "nobody"]), st.sampled_from([1, 2, None, 2**62])
TIMES = st.one_of(
    st.none(),
    st.integers(-5, 60).map(lambda second: BASE + second * SECOND),
    st.tuples(st.integers(0, 40), st.sampled_from([-1, 1, TTL, TTL + 1])).map(lambda found: BASE + found[0] * SECOND + found[1]),
    st.sampled_from([FIRST, FIRST + 1, -1, 0, 1, LAST - 1, LAST]),
)
SPINES = st.lists(st.fixed_dictionaries({"k1": FIRSTS, "k2": SECONDS, "o1": FIRSTS, "when": TIMES}), max_size=10)
NEAR = (-(2**63) // 1000 + 1, 2**63 // 1000 - 1)
"""What nanoseconds can count, in microseconds."""

UNITS: dict[str, tuple[pa.DataType, int]] = {
    "microseconds": (STAMP, 1),
    "no zone": (pa.timestamp("us"), 1),
    "milliseconds": (pa.timestamp("ms", tz="UTC"), 1000),
    "seconds": (pa.timestamp("s"), SECOND),
    "days": (pa.date32(), 86_400 * SECOND),
    "nanoseconds": (pa.timestamp("ns"), 1),
    "nanoseconds elsewhere": (pa.timestamp("ns", tz="Asia/Tokyo"), 1),
    "text": (pa.string(), 1),
}


def parquet(table: pa.Table, folder: Path, store: FeatureStore) -> str:
    half = table.num_rows // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        pq.write_table(part, folder / f"part{number}.parquet")
    return str(folder / "part*.parquet")


def iceberg(table: pa.Table, folder: Path, store: FeatureStore) -> str:
    if store.catalog.table_exists("asked.spine"):
        store.catalog.drop_table("asked.spine")
    load_source(store, "asked.spine", table)
    return "iceberg:asked.spine"


def write_source(table: pa.Table, folder: Path, store: FeatureStore) -> str:
    name = iceberg(table, folder, store)
    asked = store.catalog.load_table("asked.spine")
    snapshot = asked.current_snapshot()
    if snapshot is None:
        return name
    asked.append(table)
    return f"{name}@{snapshot.snapshot_id}"


def sql(table: pa.Table, folder: Path, store: FeatureStore) -> str:
    iceberg(table, folder, store)
    return "SELECT * FROM asked.spine ORDER BY number"


FORMS: dict[str, Callable[[pa.Table, Path, FeatureStore], Any]] = {
    "arrow": lambda table, *_: table,
    "reader": lambda table, *_: pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=3)),
    "rows": lambda table, *_: table.to_pylist(),
    "pandas": lambda table, *_: table.to_pandas(),
    "pandas by arrow": lambda table, *_: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda table, *_: pl.from_arrow(table),
    "polars lazily": lambda table, *_: pl.DataFrame(pl.from_arrow(table)).lazy(),
    "parquet": parquet,
    "iceberg": iceberg,
    "iceberg at a snapshot": write_source,
    "sql": sql,
}
STORED = ("iceberg", "iceberg at a snapshot", "sql")


class World:
    """A store with a service over random rows; `rows` are those of the source, `made` is when they were materialized."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.store = folder, FeatureStore(home=folder / "home")
        dice = random.Random(seed)
        self.rows = [
            {
                "k1": dice.choice(["a", "ab", "b", None]),
                "k2": dice.choice([1, 2, 2**62]),
                "ft": BASE + dice.randrange(40) * SECOND,
                "ct": dice.choice([None, BASE + dice.randrange(60) * SECOND]),
                "x": dice.choice([None, 1, 2, 3]),
                "y": dice.choice(["p", "q", None]),
            }
            for _ in range(50)
        ]
        load_source(self.store, "raw.rows", self.stored())
        load_source(self.store, "raw.nothing", ROWS.empty_table())
        self.store.apply([declare()])
        self.made = times.now()
        self.store.materialize()

    def stored(self) -> pa.Table:
        return pa.Table.from_pylist([{**row, "at": row["ft"], "made": row["ct"]} for row in self.rows], ROWS)

    def wanted(self, row: dict[str, Any], known: str) -> list[Any]:
        """What a spine row sees, by brute force."""
        k1, k2, t = row["k1"], row["k2"], row["when"]
        own, other = (
            oracle.as_of(self.rows, key, ["k1", "k2"], t, ttl=TTL, known=known, features=["x", "y"]) for key in ((k1, k2), (row["o1"], k2))
        )
        bare = [{**raw_row, "ct": self.made} for raw_row in self.rows]
        unknown = oracle.as_of(bare, (k2,), ["k2"], t, ttl=None, known=known, features=["x", "y"])
        pairs = [(found or {}).get(name) for found in (own, other) for name in ("x", "y")]
        return [*pairs, *self.counted(k1, t, known), (unknown or {}).get("x"), None]

    def counted(self, k1: str | None, t: int | None, known: str) -> tuple[Any, Any, Any]:
        """The aggregates at the last grid point, or at the last one of those stored that was known by then."""
        events = [{"t": row["ft"], "c": row["ct"], "x": row["x"]} for row in self.rows if row["k1"] == k1]
        points = oracle.grid_points(events, GRID, WINDOWS)
        if k1 is None or t is None or not any(g <= t for g in points):
            return None, None, None
        seen = t // GRID * GRID
        if known == "then":
            seen = max(
                (g for g in points if g <= t and max([g, *(e["c"] or g for e in oracle.window(events, g, WINDOWS[1]))]) <= t), default=FIRST
            )
        if seen < min(points):
            return None, None, None
        short, long = (oracle.window(events, seen, length) for length in WINDOWS)
        return len(short), len(long), oracle.aggregate("last", long)


def declare() -> FeatureService:
    pair, first, second = Entity("pair", keys=["k1", "k2"]), Entity("first", keys="k1"), Entity("second", keys="k2")
    source = Source("told", table="raw.rows", timestamp="at", created="made")
    row = FeatureView("row", entity=pair, source=source, ttl="10s", features=["x", "y"])
    counts = FeatureView(
        "counts", entity=first, source=source, every="5s", features={"n": agg.count(over=["10s", "20s"]), "last": agg.last("x", over="20s")}
    )
    bare = FeatureView(
        "bare", entity=second, source=Source("bare", table="raw.rows", timestamp="at"), features={"bare_x": "x", "bare_y": "y"}
    )
    nothing = FeatureView("nothing", entity=first, source=Source("nothing", table="raw.nothing", timestamp="at"), features={"nothing": "x"})
    return FeatureService("all", features=[row, row.aliased("other", keys={"k1": "o1", "k2": "k2"}), counts, bare["bare_x"], nothing])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), 1)


def time_in_unit(micros: int | None, unit: str) -> Any:
    """A time as the unit has it, or the text of it."""
    if micros is None or unit != "text":
        return None if micros is None else micros * 1000 if unit.startswith("nano") else micros // UNITS[unit][1]
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


@pytest.mark.slow
@on_a_store(25)
@given(
    spine=SPINES,
    form=st.sampled_from(sorted(FORMS)),
    unit=st.sampled_from(sorted(UNITS)),
    known=st.sampled_from(["now", "then"]),
    extra=st.sets(st.sampled_from(INTERNAL), max_size=4),
    again=st.booleans(),
)
def test_every_spine_sees_what_brute_force_sees(
    world: World, spine: list[dict[str, Any]], form: str, unit: str, known: Any, extra: set[str], again: bool
) -> None:
    if form in STORED and unit not in ("microseconds", "no zone", "days", "text"):
        unit = "microseconds"
    size = UNITS[unit][1]
    for row in spine:
        if row["when"] is not None:
            row["when"] = row["when"] // size * size
            if unit.startswith("nano") and not NEAR[0] <= row["when"] <= NEAR[1]:
                row["when"] = BASE
    if form == "rows" and not spine:
        # Rows tell of columns; without rows there are none, and the spine is refused.
        form = "arrow"
    spine = [*spine, *spine[: 3 * again]]
    moments = pa.array([time_in_unit(row["when"], unit) for row in spine], UNITS[unit][0] if unit in ("text", "days") else pa.int64())
    columns = {
        "number": pa.array(range(len(spine)), pa.int64()),
        **{name: pa.array(range(len(spine)), pa.int64()) for name in sorted(extra)},
        "k2": pa.array([row["k2"] for row in spine], pa.int64()),
        "when": moments.cast(UNITS[unit][0]),
        "o1": pa.array([row["o1"] for row in spine], pa.string()),
        "k1": pa.array([row["k1"] for row in spine], pa.string()).cast(pa.large_string() if "polars" in form else pa.string()),
    }
    given_form = FORMS[form](pa.table(columns), world.folder, world.store)
    rows = world.store.point_in_time("all", given_form, "when", known=known)
    assert rows.column_names == [*columns, *FEATURES]
    assert all(rows[name].to_pylist() == list(range(len(spine))) for name in ("number", *extra))
    assert rows["when"].cast(pa.int64()).to_pylist() == [row["when"] for row in spine]
    for row, values in zip(spine, rows.select(FEATURES).to_pylist(), strict=True):
        expected = world.wanted(row, known)
        assert list(values.values()) == expected, (row, unit, form)
