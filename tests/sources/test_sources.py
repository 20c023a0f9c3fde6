"""Sources of every kind: files with other units and zones, SQL over several tables, keys of every type."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import DefinitionError, RequestError
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(home=tmp_path / "home")


def serve(store: FeatureStore, source: Source, keys: str | list[str] = "k", **more: Any) -> FeatureService:
    view = FeatureView("v", entity=Entity("e", keys=keys), source=source, **more)
    service = FeatureService("s", features=[view])
    store.apply([service])
    store.materialize()
    return service


def joined_rows(store: FeatureStore, **columns: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in store.point_in_time("s", pa.table(columns), "t").to_pylist()]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_772_366_400_000_000_999], pa.timestamp("ns")),
        pa.array([1_772_366_400_000], pa.timestamp("ms")),
        pa.array([1_772_366_400], pa.timestamp("s")),
        pa.array([1_772_366_400_000_000], pa.timestamp("us", tz="America/New_York")),
        pa.array([1_772_366_400_000_000_999], pa.timestamp("ns", tz="Asia/Kolkata")),
    ],
    ids=str,
)
def test_parquet_files_of_any_time_unit(store: FeatureStore, tmp_path: Path, times: pa.Array) -> None:
    pq.write_table(pa.table({"k": [1], "at": times, "x": [5]}), tmp_path / "part-0.parquet")
    serve(store, Source("f", path=str(tmp_path / "*.parquet"), timestamp="at"), features=["x"])
    assert [row["x"] for row in joined_rows(store, k=[1, 1], t=pa.array([T - timedelta(microseconds=1), T], STAMP))] == [None, 5]


@pytest.mark.slow
def test_new_files_are_found_and_changed_ones_corrected(store: FeatureStore, tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": [1], "at": pa.array([T], STAMP), "x": [5]}), tmp_path / "a.parquet")
    serve(store, Source("f", path=str(tmp_path / "*.parquet"), timestamp="at"), features=["x"])
    pq.write_table(pa.table({"k": [1], "at": pa.array([T - HOUR], STAMP), "x": [4]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"k": [1], "at": pa.array([T], STAMP), "x": [6]}), tmp_path / "a.parquet")
    (run,) = store.materialize()
    assert (run.rows_appended, run.corrections) == (2, 1)
    assert [row["x"] for row in joined_rows(store, k=[1, 1], t=pa.array([T - HOUR, T], STAMP))] == [4, 6]
    assert store.materialize()[0].rows_appended == 0


def test_csv_files(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("k,at,x\n007,2026-03-01 12:00:00,1.5\n008,2026-03-01T13:00:00,\n")
    source = Source("f", path=str(tmp_path / "rows.csv"), timestamp="at", columns={"code": "k"})
    serve(store, source, features={"x": "x", "twice": "x * 2"})
    key = 7 if store.backend.service_plan("s").uses[0].key_types == ("BIGINT",) else "007"
    assert [(row["x"], row["twice"]) for row in joined_rows(store, k=[key], t=[T])] == [(1.5, 3.0)]


@pytest.mark.slow
def test_one_query_over_several_tables(store: FeatureStore) -> None:
    load_source(store, "shop.orders", pa.table({"k": pa.array([1, 2], pa.int64()), "item": ["a", "b"], "at": pa.array([T, T], STAMP)}))
    items = load_source(store, "shop.items", pa.table({"item": ["a", "b"], "price": [1.5, 2.5]}))
    query = "SELECT o.k, o.at, i.price FROM shop.orders o JOIN shop.items i ON i.item = o.item WHERE i.price > 0"
    serve(store, Source("q", sql=query, timestamp="at"), features=["price"])
    assert [row["price"] for row in joined_rows(store, k=[1, 2], t=[T, T])] == [1.5, 2.5]
    items.overwrite(pa.table({"item": ["a", "b"], "price": [9.0, 2.5]}))
    (run,) = store.materialize()
    assert (run.rows_appended, run.corrections) == (1, 1)
    assert [row["price"] for row in joined_rows(store, k=[1, 2], t=[T, T])] == [9.0, 2.5]


def test_a_query_whose_values_would_arrive_as_others_is_refused_when_it_is_planned(store: FeatureStore) -> None:
    load_source(store, "odd.rows", pa.table({"k": pa.array([1], pa.int64()), "at": pa.array([T], STAMP)}))
    for sql, kind in (("340282366920938463463374607431768211455", "UHUGEINT"), ("'101'::BIT", "BIT")):
        source = Source("odd", sql=f"SELECT k, at, {sql} AS x FROM odd.rows", timestamp="at")
        view = FeatureView("odd", entity=Entity("odd", keys="k"), source=source, features={"x": "x::VARCHAR"})
        with pytest.raises(DefinitionError, match=f"column 'x' holds {kind}"):
            store.plan([view])


FAR = ["at + INTERVAL 8000 YEAR", "TIMESTAMP 'infinity'", "CAST(at AS DATE) - 800000", "DATE 'infinity'"]


@pytest.mark.parametrize("sql", [*FAR, *(f"[{far}]" for far in FAR)])
def test_a_feature_that_is_a_time_beyond_the_calendar_names_its_column(store: FeatureStore, sql: str) -> None:
    load_source(store, "far.rows", pa.table({"k": pa.array([1, 2], pa.int64()), "at": pa.array([T, T], STAMP)}))
    far = f"CASE WHEN k = 2 THEN {sql} END"
    source = Source("far", table="far.rows", timestamp="at")
    view = FeatureView("far", entity=Entity("far", keys="k"), source=source, features={"near": "at", "far": far})
    store.apply([FeatureService("far", features=[view])])
    with pytest.raises(RequestError, match=r"view far: 'far' would have a time outside the years 1 to 9999.*where="):
        store.materialize(["far"])
    assert store.online_features("far", [{"k": 1}]).rows == ((None, None),)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind,value,other,asked",
    [
        (pa.string(), "ä b", "a", "ä b"),
        (pa.int32(), -7, 7, -7),
        (pa.int64(), 2**62, 1, 2**62),
        (pa.date32(), date(2026, 1, 2), date(2026, 1, 3), "2026-01-02"),
        (pa.uuid(), uuid.UUID(int=5).bytes, uuid.UUID(int=6).bytes, str(uuid.UUID(int=5))),
        (pa.decimal128(10, 2), Decimal("1.50"), Decimal("1.51"), "1.5"),
        (STAMP, T, T + HOUR, "2026-03-01T12:00:00Z"),
        (pa.bool_(), True, False, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("every", [None, "1h"])
def test_keys_of_every_type(store: FeatureStore, kind: pa.DataType, value: Any, other: Any, asked: Any, every: str | None) -> None:
    rows = pa.table({"k": pa.array([value, other], kind), "j": ["p", "p"], "at": pa.array([T, T], STAMP), "x": [1.0, 2.0]})
    load_source(store, "raw.rows", rows)
    features: Any = ["x"] if every is None else {"x": agg.sum("x", over="1h")}
    serve(store, Source("s", table="raw.rows", timestamp="at"), keys=["k", "j"], every=every, features=features)
    name = "x" if every is None else "x_1h"
    spine = {"k": pa.array([value, other, None], kind), "j": ["p", "p", "p"], "t": pa.array([T + HOUR] * 3, STAMP)}
    assert [row[name] for row in joined_rows(store, **spine)] == [1.0, 2.0, None]
    online = store.online_features("s", [{"k": asked, "j": "p"}, {"k": asked, "j": "q"}])
    if every is None:
        assert online.rows == ((1.0,), (None,))
    assert online.status["v"] == ("PRESENT", "NOT_FOUND")
    assert [run.rows_appended for run in store.materialize(start=T, end=T + HOUR)] == [0]


@pytest.mark.slow
def test_features_of_every_type_are_stored_joined_and_served(store: FeatureStore) -> None:
    columns = {
        "a": pa.array([True]),
        "b": pa.array([7], pa.int8()),
        "c": pa.array([2**31], pa.uint32()),
        "d": pa.array([1.5], pa.float32()),
        "e": pa.array([Decimal("1.25")], pa.decimal128(9, 4)),
        "f": pa.array(["straße"]),
        "g": pa.array([b"\x00\xff"]),
        "h": pa.array([date(2026, 1, 2)]),
        "i": pa.array([T], STAMP),
        "j": pa.array([["x", None]], pa.list_(pa.string())),
        "l": pa.array([uuid.UUID(int=5).bytes], pa.uuid()),
    }
    table = pa.table({"k": pa.array([1], pa.int64()), "at": pa.array([T], STAMP)} | columns)
    stored = {name: pa.array(column.to_pylist(), pa.int64()) if name in ("b", "c") else column for name, column in columns.items()}
    load_source(store, "raw.rows", pa.table({"k": table["k"], "at": table["at"]} | stored))
    serve(store, Source("s", table="raw.rows", timestamp="at"), features=list(columns))
    expected = {
        "a": True,
        "b": 7,
        "c": 2**31,
        "d": 1.5,
        "e": Decimal("1.2500"),
        "f": "straße",
        "g": b"\x00\xff",
        "h": date(2026, 1, 2),
        "i": T,
        "j": ["x", None],
        "l": str(uuid.UUID(int=5)),
    }
    (joined,) = joined_rows(store, k=[1], t=[T])
    assert {name: joined[name] for name in expected} == expected
    online = store.online_features("s", [{"k": 1}])
    assert {**dict(zip(online.features, online.rows[0], strict=True)), "l": str(uuid.UUID(int=5))} == expected
    made = store.training_set("s", pa.table({"k": [1], "t": [T]}), "t")
    assert store.rebuild(made.id).digest == made.digest
    assert {name: made.to_arrow().to_pylist()[0][name] for name in expected} == expected
    assert [run.rows_appended for run in store.materialize(start=T, end=T)] == [0]
