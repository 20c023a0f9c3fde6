"""Edge cases of the time rules through the public API: ends of intervals, ties, zones, units, unusual spines."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import RequestError, TypeMismatch
from tests.worlds import STAMP, load_source

US = timedelta(microseconds=1)
T = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One view of a price valid for ten minutes, and one of counts by the hour, of the same events."""
    store = FeatureStore(home=tmp_path_factory.mktemp("store"))
    rows = pa.table(
        {
            "shop": pa.array(["a", "a", "ab", None]),
            "item": pa.array(["bc", "bc", "c", "c"]),
            "at": pa.array([T, T + timedelta(minutes=30), T, T], STAMP),
            "price": pa.array([1.0, 2.0, 3.0, 4.0]),
        }
    )
    load_source(store, "shop.prices", rows)
    load_source(store, "shop.nothing", rows.slice(0, 0))
    item = Entity("item", keys=["shop", "item"])
    prices = Source("prices", table="shop.prices", timestamp="at")
    price = FeatureView("price", entity=item, source=prices, ttl="10m", features=["price"])
    sales = FeatureView("sales", entity=item, source=prices, every="1h", features={"n": agg.count(over=["1h", "2h"])})
    empty = FeatureView("empty", entity=item, source=Source("nothing", table="shop.nothing", timestamp="at"), features={"none": "price"})
    store.apply([FeatureService("shop", features=[price, sales, empty])])
    store.materialize()
    return store


def ask(store: FeatureStore, times: list[Any], shop: str | None = "a", item: str | None = "bc", **more: Any) -> list[dict[str, Any]]:
    spine = pa.table({"shop": pa.array([shop] * len(times), pa.string()), "item": [item] * len(times), "t": times, **more})
    return [dict(row) for row in store.point_in_time("shop", spine, "t").to_pylist()]


@pytest.mark.parametrize(
    "t,price",
    [
        (T - US, None),
        (T, 1.0),
        (T + timedelta(minutes=10), 1.0),
        (T + timedelta(minutes=10) + US, None),
        (T + timedelta(minutes=30) - US, None),
        (T + timedelta(minutes=30), 2.0),
    ],
)
def test_both_ends_of_a_ttl_are_inside(store: FeatureStore, t: datetime, price: float | None) -> None:
    assert [row["price"] for row in ask(store, [t])] == [price]


@pytest.mark.parametrize(
    "hours,counts",
    [(0, (None, None)), (1, (2, 2)), (2, (0, 2)), (3, (0, 0)), (1000, (0, 0))],
)
def test_counts_hold_from_their_grid_point_on(store: FeatureStore, hours: int, counts: tuple[int | None, int | None]) -> None:
    """Both events fall in the hour from T, so the grid point one hour later is the first to count them."""
    just, late = ask(store, [T + timedelta(hours=hours), T + timedelta(hours=hours + 1) - US])
    assert (just["n_1h"], just["n_2h"]) == (late["n_1h"], late["n_2h"]) == counts


def test_keys_are_compared_part_by_part_and_null_matches_nothing(store: FeatureStore) -> None:
    assert [row["price"] for row in ask(store, [T], "ab", "c")] == [3.0]
    assert [row["price"] for row in ask(store, [T], "a", "b")] == [None]
    assert [row["price"] for row in ask(store, [T], None, "c")] == [None]


def test_zones_naive_times_and_nanoseconds(store: FeatureStore) -> None:
    east = T.astimezone(timezone(timedelta(hours=9)))
    assert [row["price"] for row in ask(store, [east, T])] == [1.0, 1.0]
    naive = pa.array([T.replace(tzinfo=None), (T - US).replace(tzinfo=None)], pa.timestamp("us"))
    assert [row["price"] for row in ask(store, naive.to_pylist())] == [1.0, None]
    start = int(T.timestamp()) * 1_000_000_000
    nanos = pa.array([start - 1, start, start + 600_000_000_999, start + 600_000_001_000], pa.timestamp("ns", tz="Asia/Tokyo"))
    spine = pa.table({"shop": ["a"] * 4, "item": ["bc"] * 4, "t": nanos})
    result = store.point_in_time("shop", spine, "t")
    assert result.column("price").to_pylist() == [None, 1.0, 1.0, None]
    assert result.schema.field("t").type == STAMP


def test_nanoseconds_before_1970_are_floored(store: FeatureStore) -> None:
    spine = pa.table({"shop": ["a"], "item": ["bc"], "t": pa.array([-1], pa.timestamp("ns"))})
    assert store.point_in_time("shop", spine, "t").column("t").cast(pa.int64()).to_pylist() == [-1]


def test_dates_and_texts_are_times(store: FeatureStore) -> None:
    assert [row["n_1h"] for row in ask(store, [date(2026, 3, 2)])] == [0]
    assert [row["price"] for row in ask(store, ["2026-03-01T13:00:00+01:00", "2026-03-01 12:10:00.000001", None])] == [1.0, None, None]


def test_rows_keep_their_order_number_and_other_columns(store: FeatureStore) -> None:
    times = [T + timedelta(minutes=30), None, T, T, T - US]
    names = ["row_id", "feature_timestamp", "created_timestamp", "a.b", 'quo"te', "Price", "T", "straße", "select", "s", "f", "spine", "v0"]
    more = {name: pa.array(range(5), pa.int64()) for name in names}
    rows = ask(store, times, **more)
    assert [row["price"] for row in rows] == [2.0, None, 1.0, 1.0, None]
    assert all([row[name] for row in rows] == list(range(5)) for name in names)
    spine = pa.table({"shop": ["a"] * 5, "item": ["bc"] * 5, "t": pa.array(times, STAMP), **more})
    stored = store.training_set("shop", spine, "t", name="awkward")
    assert stored.to_arrow().select(range(spine.num_columns)).to_pylist() == spine.to_pylist()
    assert store.rebuild(stored.id).digest == stored.digest


def test_a_spine_column_called_like_a_feature_is_refused(store: FeatureStore) -> None:
    with pytest.raises(RequestError, match="'n_1h'"):
        ask(store, [T], n_1h=[1])


def test_an_empty_spine_gives_an_empty_result(store: FeatureStore) -> None:
    spine = pa.table({"shop": pa.array([], pa.string()), "item": pa.array([], pa.string()), "t": pa.array([], STAMP)})
    stored = store.training_set("shop", spine, "t", name="nobody")
    assert (stored.to_arrow().num_rows, stored.features) == (0, ["price", "n_1h", "n_2h", "none"])
    assert store.rebuild(stored.id).digest == stored.digest


def test_a_view_without_rows_gives_nulls(store: FeatureStore) -> None:
    assert [row["none"] for row in ask(store, [T])] == [None]
    answer = store.online_features("shop", [{"shop": "a", "item": "bc"}])
    assert answer.status["empty"] == ("NOT_FOUND",)


def test_pandas_polars_and_rows_are_spines(store: FeatureStore) -> None:
    rows = [{"shop": "a", "item": "bc", "t": T}, {"shop": "ab", "item": "c", "t": T}]
    frame = pd.DataFrame(rows)
    for spine in (
        frame,
        frame.astype({"shop": "category"}),
        pl.DataFrame(rows),
        pl.LazyFrame(rows),
        rows,
        pa.Table.from_pylist(rows).to_reader(),
    ):
        assert store.point_in_time("shop", spine, "t").column("price").to_pylist() == [1.0, 3.0]


@pytest.mark.parametrize("column", ["t", "more"])
def test_python_objects_of_polars_are_refused_and_not_read_as_addresses(store: FeatureStore, column: str) -> None:
    rows: dict[str, Any] = {"shop": ["a"], "item": ["bc"], "t": [T], "more": [1]}
    frame = pl.DataFrame({**rows, column: pl.Series([T], dtype=pl.Object)})
    for spine in (frame, frame.lazy()):
        with pytest.raises(TypeMismatch, match=f"column '{column}' holds Python objects"):
            store.point_in_time("shop", spine, "t")


def test_online_equals_the_join_of_this_moment(store: FeatureStore) -> None:
    keys: list[dict[str, Any]] = [
        {"shop": "a", "item": "bc"},
        {"shop": "ab", "item": "c"},
        {"shop": "x", "item": "y"},
        {"shop": None, "item": "c"},
    ]
    spine = pa.Table.from_pylist([{**key, "t": datetime.now(UTC)} for key in keys])
    joined = store.point_in_time("shop", spine, "t")
    answer = store.online_features("shop", keys)
    assert [dict(zip(answer.features, row, strict=True)) for row in answer.rows] == joined.select(list(answer.features)).to_pylist()
    assert answer.status == {
        "price": ("EXPIRED", "EXPIRED", "NOT_FOUND", "NOT_FOUND"),
        "sales": ("PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND"),
        "empty": ("NOT_FOUND",) * 4,
    }
