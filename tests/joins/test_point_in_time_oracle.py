"""The point-in-time join through the public API against the brute-force oracle: random views, corrections and spines."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.joins.join import join
from featurestore.records.pinned import pin
from featurestore.spines.spine import fit_rows, spine_in_memory
from tests import oracle
from tests.worlds import STAMP, load_source, on_a_store

SECOND = 1_000_000
TTL = 10 * SECOND
BASE = 1_700_000_000 * SECOND
TIMES = st.integers(0, 30).map(lambda second: BASE + second * SECOND)
NUDGES = st.sampled_from([0, 0, 1, -1, TTL, TTL + 1, TTL - 1])
# Keys know nothing of each other, so an example of twelve is worth several of few, in the time of one.
KEYS = st.sampled_from(
    [(first, f"{second}{number}") for number in range(3) for first, second in (("a", "bc"), ("ab", "c"), ("a", "b"), (None, "c"))]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"key": KEYS, "ft": TIMES, "ct": st.none() | TIMES, "x": st.none() | st.integers(0, 3), "y": st.sampled_from(["p", "q", None])}
    ),
    max_size=48,
)
SPINES = st.lists(st.fixed_dictionaries({"key": KEYS, "t": st.none() | st.tuples(TIMES, NUDGES).map(sum)}), max_size=36)
COUNTER = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(home=tmp_path_factory.mktemp("store"))


def source_rows(rows: list[dict[str, Any]]) -> pa.Table:
    records = [{"k1": row["key"][0], "k2": row["key"][1], "at": row["ft"], "made": row["ct"], "x": row["x"], "y": row["y"]} for row in rows]
    return pa.Table.from_pylist(
        records,
        pa.schema([("k1", pa.string()), ("k2", pa.string()), ("at", STAMP), ("made", STAMP), ("x", pa.int64()), ("y", pa.string())]),
    )


def declare(table: str, name: str, created: bool, ttl: str | None) -> FeatureService:
    source = Source(f"{name}_source", table=table, timestamp="at", created="made" if created else None)
    view = FeatureView(name, entity=Entity("pair", keys=["k1", "k2"]), source=source, ttl=ttl, features=["x", "y"])
    return FeatureService(f"{name}_service", features=[view["y", "x"]])


@pytest.fixture(scope="module")
def small(store: FeatureStore) -> Iterator[FeatureStore]:
    """The same store in one thread and little memory."""
    with FeatureStore(settings=Settings(home=store.settings.home, threads=1, memory_limit="200MB")) as other:
        yield other


def join_without_memory(service: str, store: FeatureStore, asked: pa.Table, known: str) -> pa.Table:
    """The join by the plan that holds nothing in memory."""
    plan = store.backend.service_plan(service)
    parts = store._runtime
    with parts.engine.session() as session:
        joined = join(session, plan, spine_in_memory(fit_rows(asked, plan, "t"), plan), pin(parts, plan), known, room=0)
        return pa.Table.from_batches(joined.batches, joined.schema)


@pytest.mark.slow
@on_a_store(9)
@given(rows=ROWS, later=ROWS, spine=SPINES, ttl=st.sampled_from([None, "10s"]), known=st.sampled_from(["now", "then"]))
def test_the_join_equals_brute_force(
    store: FeatureStore,
    small: FeatureStore,
    rows: list[dict[str, Any]],
    later: list[dict[str, Any]],
    spine: list[dict[str, Any]],
    ttl: str | None,
    known: str,
) -> None:
    if known == "then":
        # A second row of one key and both times counts as a correction made by the run that finds it, so not as known by then.
        seen = {(row["key"], row["ft"], row["ct"]) for row in rows}
        later = [row for row in later if (row["key"], row["ft"], row["ct"]) not in seen]
    number = next(COUNTER)
    table = load_source(store, f"raw.rows_{number}", source_rows(rows))
    store.apply([declare(f"raw.rows_{number}", f"view_{number}", created=True, ttl=ttl)])
    store.materialize(f"view_{number}")
    table.append(source_rows(later))
    store.materialize(f"view_{number}")
    asked = pa.table(
        {
            "k1": pa.array([row["key"][0] for row in spine], pa.string()),
            "k2": pa.array([row["key"][1] for row in spine], pa.string()),
            "t": pa.array([row["t"] for row in spine], STAMP),
            "row_id": pa.array(range(len(spine)), pa.int64()),
        }
    )
    result = store.point_in_time(f"view_{number}_service", asked, "t", known=known)  # type: ignore[arg-type]
    assert result.column("row_id").to_pylist() == list(range(len(spine)))
    assert join_without_memory(f"view_{number}_service", small, asked, known).equals(result)
    facts = [{"k1": row["key"][0], "k2": row["key"][1], **row} for row in [*rows, *later]]
    limit = TTL if ttl else None
    for row, found in zip(spine, result.to_pylist(), strict=True):
        expected = oracle.as_of(facts, row["key"], ["k1", "k2"], row["t"], ttl=limit, known=known, features=["x", "y"])
        assert (found["x"], found["y"]) == ((expected["x"], expected["y"]) if expected else (None, None))


@pytest.mark.slow
@on_a_store(4)
@given(rows=ROWS, spine=SPINES)
def test_a_source_without_a_created_column_is_known_since_the_run(
    store: FeatureStore, rows: list[dict[str, Any]], spine: list[dict[str, Any]]
) -> None:
    number = next(COUNTER)
    load_source(store, f"raw.rows_{number}", source_rows(rows))
    store.apply([declare(f"raw.rows_{number}", f"view_{number}", created=False, ttl=None)])
    store.materialize(f"view_{number}")
    asked = pa.table(
        {
            "k1": pa.array([row["key"][0] for row in spine], pa.string()),
            "k2": pa.array([row["key"][1] for row in spine], pa.string()),
            "t": pa.array([row["t"] for row in spine], STAMP),
        }
    )
    now = store.point_in_time(f"view_{number}_service", asked, "t").to_pylist()
    then = store.point_in_time(f"view_{number}_service", asked, "t", known="then").to_pylist()
    facts = [{"k1": row["key"][0], "k2": row["key"][1], **row, "ct": None} for row in rows]
    for row, found in zip(spine, now, strict=True):
        expected = oracle.as_of(facts, row["key"], ["k1", "k2"], row["t"], ttl=None, known="now", features=["x", "y"])
        assert (found["x"], found["y"]) == ((expected["x"], expected["y"]) if expected else (None, None))
    assert all(row["x"] is None and row["y"] is None for row in then)


def test_the_oracle_can_fail() -> None:
    """Rule 3 is `<=` and rule 6 is `<`: one microsecond either way is another answer."""
    rows = [{"k": "a", "ft": 10, "ct": 5, "x": 1}]
    see = {t: oracle.as_of(rows, ("a",), ["k"], t, ttl=3, known="now", features=["x"]) is not None for t in (9, 10, 13, 14)}
    assert see == {9: False, 10: True, 13: True, 14: False}
    assert [len(oracle.window([{"t": 10, "x": 1}], g, 5)) for g in (10, 11, 15, 16)] == [0, 1, 1, 0]
