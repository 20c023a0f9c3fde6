"""The behavior of every online store."""

import math
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from featurestore.errors import Conflict, RequestError, TypeMismatch
from featurestore.online.store import Cursor, OnlineStore, Read, Row
from tests.online.worlds import IN_A_CLUSTER_TOO, TIME, Opener, table, table_of

pytestmark = IN_A_CLUSTER_TOO

CURSOR = Cursor(snapshot_id=7, materialized_through=1_000)
AWARE = datetime(2020, 1, 1, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)
LONG_DECIMAL = Decimal("-1234567890123456789012345678.0123456789")
IDENTIFIER = UUID("12345678-1234-5678-1234-567812345678")


def read_rows(store: OnlineStore, *keys: tuple[Any, ...], name: str = "v") -> list[Row | None]:
    [table_rows] = store.read([(name, keys)])
    return table_rows.rows


def put(store: OnlineStore, *rows: tuple[Any, ...], cursor: Cursor = CURSOR, replace: bool = False, name: str = "v") -> int:
    return store.publish(name, table(list(rows)), keys=["customer_id"], cursor=cursor, replace=replace)


def test_a_table_never_published_is_empty(store: OnlineStore) -> None:
    assert store.read([("v", [(1,), (2,)])]) == [Read((), None, [None, None])]
    assert store.cursor("v") is None
    assert store.generation() == 0


def test_published_rows_come_back_with_columns_and_cursor(store: OnlineStore) -> None:
    assert put(store, (1, 10, 20, 5), (2, 11, None, None)) == 2
    rows = [Row(10, 20, (5,)), Row(11, None, (None,)), None]
    assert store.read([("v", [(1,), (2,), (3,)])]) == [Read(("orders",), CURSOR, rows)]
    assert store.cursor("v") == CURSOR


def test_of_many_rows_per_key_the_newest_stays(store: OnlineStore) -> None:
    put(store, (1, 10, 5, 1), (1, 30, 1, 3), (1, 20, 9, 2))
    assert read_rows(store, (1,)) == [Row(30, 1, (3,))]


def test_an_older_row_never_overwrites(store: OnlineStore) -> None:
    put(store, (1, 10, 5, 1))
    assert put(store, (1, 9, 99, 2)) == 0
    assert put(store, (1, 10, 4, 3)) == 0
    assert put(store, (1, 10, None, 4)) == 0
    assert read_rows(store, (1,)) == [Row(10, 5, (1,))]


def test_a_correction_of_the_same_time_overwrites(store: OnlineStore) -> None:
    put(store, (1, 10, None, 1))
    assert put(store, (1, 10, -5, 2)) == 1
    assert put(store, (1, 10, 6, 3)) == 1
    assert read_rows(store, (1,)) == [Row(10, 6, (3,))]


def test_an_equal_pair_is_overwritten_by_the_last(store: OnlineStore) -> None:
    put(store, (1, 10, 5, 1), (1, 10, 5, 2))
    assert read_rows(store, (1,)) == [Row(10, 5, (2,))]
    put(store, (1, 10, 5, 3))
    assert read_rows(store, (1,)) == [Row(10, 5, (3,))]


def test_times_before_1970_keep_their_order(store: OnlineStore) -> None:
    put(store, (1, -10, -7, 1))
    put(store, (1, -20, 5, 2))
    assert read_rows(store, (1,)) == [Row(-10, -7, (1,))]


def test_publishing_again_changes_nothing(store: OnlineStore) -> None:
    rows = [(1, 10, 20, 5), (2, 11, None, 6)]
    put(store, *rows)
    before = store.read([("v", [(1,), (2,)])])
    assert put(store, *rows) == 0
    assert store.read([("v", [(1,), (2,)])]) == before


def test_an_empty_publish_moves_the_cursor(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    for rows in (table([]), pa.table({})):
        moved = Cursor(snapshot_id=8 + len(rows.columns), materialized_through=None)
        assert store.publish("v", rows, keys=["customer_id"], cursor=moved) == 0
        assert store.read([("v", [(1,)])]) == [Read(("orders",), moved, [Row(10, 20, (5,))])]


def test_an_empty_publish_makes_the_table_known(store: OnlineStore) -> None:
    store.publish("bare", pa.table({}), keys=["customer_id"], cursor=CURSOR)
    put(store, name="typed")
    assert store.read([("bare", [(1,)]), ("typed", [(1,)])]) == [Read((), CURSOR, [None]), Read(("orders",), CURSOR, [None])]
    put(store, (1, 1, 1, 1), name="bare")
    assert read_rows(store, (1,), name="bare") == [Row(1, 1, (1,))]


def test_a_reader_of_batches_is_published_whole(store: OnlineStore) -> None:
    batches = [batch for start in (0, 50) for batch in table([(i % 60, i, 1, i) for i in range(start, start + 50)]).to_batches()]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert store.publish("v", reader, keys=["customer_id"], cursor=CURSOR) >= 60
    assert read_rows(store, *[(i,) for i in range(60)]) == [Row(value := i + 60 if i < 40 else i, 1, (value,)) for i in range(60)]


def test_keys_with_a_null_part_are_passed_over(store: OnlineStore) -> None:
    assert put(store, (None, 10, 20, 5), (2, 10, 20, 6)) == 1
    assert read_rows(store, (None,), (2,)) == [None, Row(10, 20, (6,))]


def test_replace_leaves_only_the_new_rows(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5), (2, 10, 20, 6))
    put(store, (1, 10, 20, 7), name="other")
    replacement = table([(2, 1, 1, "x")], feature=pa.string()).rename_columns(
        ["customer_id", "feature_timestamp", "created_timestamp", "status"]
    )
    store.publish("v", replacement, keys=["customer_id"], cursor=Cursor(9, 9), replace=True)
    assert store.read([("v", [(1,), (2,)])]) == [Read(("status",), Cursor(9, 9), [None, Row(1, 1, ("x",))])]
    assert read_rows(store, (1,), name="other") == [Row(10, 20, (7,))]


def test_replace_by_nothing_empties_the_table(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    put(store, replace=True)
    assert store.read([("v", [(1,)])]) == [Read(("orders",), CURSOR, [None])]


def test_drop_forgets_rows_and_cursor(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    put(store, (1, 10, 20, 6), name="other")
    store.drop("v")
    store.drop("never there")
    assert store.read([("v", [(1,)])]) == [Read((), None, [None])]
    assert read_rows(store, (1,), name="other") == [Row(10, 20, (6,))]
    put(store, (2, 1, 1, 1))
    assert read_rows(store, (1,), (2,)) == [None, Row(1, 1, (1,))]


def test_tables_and_keys_do_not_run_into_each_other(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5), name="a")
    put(store, (1, 10, 20, 6), name="a:b")
    pairs = pa.table(
        {"x": ["a", "ab"], "y": ["bc", "c"], "feature_timestamp": pa.array([1, 2], TIME), "created_timestamp": pa.array([1, 1], TIME)}
    )
    store.publish("pairs", pairs, keys=["x", "y"], cursor=CURSOR)
    tables = store.read([("a", [(1,), ("1",), (True,)]), ("a:b", [(1,)]), ("pairs", [("a", "bc"), ("ab", "c"), ("bc", "a")])])
    assert [[row and row.feature_timestamp for row in each_read.rows] for each_read in tables] == [[10, None, None], [10], [1, 2, None]]
    assert tables[1].rows == [Row(10, 20, (6,))]


KEYS: list[tuple[pa.DataType, Any, Any]] = [
    (pa.int32(), -5, -5),
    (pa.uint64(), 2**64 - 1, 2**64 - 1),
    (pa.string(), "x" * 5000, "x" * 5000),
    (pa.large_string(), "Grüße", "Grüße"),
    (pa.bool_(), True, True),
    (pa.binary(), b"\x00\xff", b"\x00\xff"),
    (pa.date32(), date(1969, 12, 31), date(1969, 12, 31)),
    (pa.timestamp("us"), NAIVE, AWARE),
    (pa.timestamp("ns", "Europe/Berlin"), AWARE, NAIVE),
    (pa.uuid(), IDENTIFIER.bytes, IDENTIFIER),
    (pa.decimal128(10, 2), Decimal("1.50"), Decimal("1.5000")),
    (pa.decimal128(10, 2), Decimal("100.00"), Decimal("1E+2")),
    (pa.decimal128(38, 0), Decimal(10) ** 30, 10**30),
]


@pytest.mark.parametrize("type_,written,asked", KEYS, ids=[str(case[0]) for case in KEYS])
def test_every_type_of_key(store: OnlineStore, type_: pa.DataType, written: Any, asked: Any) -> None:
    rows = table([(0, 1, 1, 1)]).set_column(0, "customer_id", pa.array([written], type_))
    store.publish("v", rows, keys=["customer_id"], cursor=CURSOR)
    assert read_rows(store, (asked,)) == [Row(1, 1, (1,))]


MOMENT = datetime(2020, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
VALUES: list[tuple[pa.DataType, list[Any], list[Any]]] = [
    (pa.bool_(), [True, False, None], [True, False, None]),
    (pa.int8(), [-128, 127, None], [-128, 127, None]),
    (pa.int64(), [-(2**63), 2**63 - 1, None], [-(2**63), 2**63 - 1, None]),
    (pa.float64(), [0.1, -math.inf, None], [0.1, -math.inf, None]),
    (pa.float32(), [0.5, math.inf, None], [0.5, math.inf, None]),
    (pa.string(), ["", "Grüße" * 100, None], ["", "Grüße" * 100, None]),
    (pa.string_view(), ["", "x" * 70_000, None], ["", "x" * 70_000, None]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", None], ["a", "b", None]),
    (pa.binary(), [b"", b"\x00" * 300, None], [b"", b"\x00" * 300, None]),
    (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None], [date(1, 1, 1), date(9999, 12, 31), None]),
    (pa.timestamp("us", "America/New_York"), [MOMENT, None], [MOMENT, None]),
    (pa.timestamp("ns"), [MOMENT.replace(tzinfo=None), None], [MOMENT, None]),
    (pa.uuid(), [IDENTIFIER.bytes, None], [IDENTIFIER, None]),
    (pa.decimal128(38, 10), [LONG_DECIMAL, None], [LONG_DECIMAL, None]),
    (pa.decimal128(10, 2), [Decimal("1.50"), Decimal(0)], [Decimal("1.50"), Decimal(0)]),
    (pa.list_(pa.float64()), [[1.5, None], [], None], [[1.5, None], [], None]),
    (pa.list_(pa.string()), [["a", None], [], None], [["a", None], [], None]),
    (pa.large_list(pa.date32()), [[date(2020, 1, 1), None], None], [[date(2020, 1, 1), None], None]),
    (pa.list_(pa.timestamp("us", "UTC")), [[MOMENT], None], [[MOMENT], None]),
    (pa.list_(pa.decimal128(10, 2)), [[Decimal("1.50")], None], [[Decimal("1.50")], None]),
    (pa.list_(pa.list_(pa.int64())), [[[1], None], None], [[[1], None], None]),
]


@pytest.mark.parametrize("type_,written,expected", VALUES, ids=[str(case[0]) for case in VALUES])
def test_every_type_of_value(store: OnlineStore, type_: pa.DataType, written: list[Any], expected: list[Any]) -> None:
    store.publish("v", table_of(pa.array(written, type_)), keys=["customer_id"], cursor=CURSOR)
    values = [row.values[0] for row in read_rows(store, *[(i,) for i in range(len(written))]) if row is not None]
    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


def test_nan_stays_nan(store: OnlineStore) -> None:
    store.publish("v", table_of(pa.array([math.nan])), keys=["customer_id"], cursor=CURSOR)
    [row] = read_rows(store, (0,))
    assert row is not None
    assert math.isnan(row.values[0])


def test_other_columns_are_refused_until_replaced(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    with pytest.raises(Conflict, match="orders"):
        store.publish("v", table([(1, 11, 20, "x")], feature=pa.string()), keys=["customer_id"], cursor=CURSOR)
    with pytest.raises(Conflict, match="customer_id"):
        store.publish("v", table([("1", 11, 20, 5)], key=pa.string()), keys=["customer_id"], cursor=CURSOR)
    assert read_rows(store, (1,)) == [Row(10, 20, (5,))]


def test_columns_in_another_order_are_the_same_columns(store: OnlineStore) -> None:
    rows = table([(1, 10, 20, 5)]).append_column("spend", pa.array([2.5]))
    store.publish("v", rows, keys=["customer_id"], cursor=CURSOR)
    later = table([(1, 11, 20, 6)]).append_column("spend", pa.array([3.5])).select([4, 3, 2, 1, 0])
    store.publish("v", later, keys=["customer_id"], cursor=CURSOR)
    assert store.read([("v", [(1,)])]) == [Read(("orders", "spend"), CURSOR, [Row(11, 20, (6, 3.5))])]


def test_wrong_rows_are_refused_and_nothing_changes(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    good = table([(1, 11, 20, 6)])
    cases = [
        (good.drop_columns(["created_timestamp"]), RequestError, "created_timestamp"),
        (good.append_column("spent", pa.array([[{"a": 1}]])), TypeMismatch, "spent"),
        (table([(1.5, 11, 20, 6)], key=pa.float64()), TypeMismatch, "customer_id"),
        (table([(1, None, 20, 6)]), TypeMismatch, "feature_timestamp"),
        (good.set_column(1, "feature_timestamp", pa.array([2**63 - 1], TIME)), TypeMismatch, "years 1 to 9999"),
    ]
    for rows, error, words in cases:
        with pytest.raises(error, match=words):
            store.publish("v", rows, keys=["customer_id"], cursor=Cursor(99, 99))
    assert store.read([("v", [(1,)])]) == [Read(("orders",), CURSOR, [Row(10, 20, (5,))])]


def test_wrong_keys_are_refused(store: OnlineStore) -> None:
    put(store, (1, 10, 20, 5))
    with pytest.raises(RequestError, match="customer_id"):
        store.read([("v", [(1, 2)])])
    with pytest.raises(TypeMismatch, match=r"1\.5"):
        store.read([("v", [(1.5,)])])


def test_the_generation_grows_with_every_change(store: OnlineStore) -> None:
    seen = [store.generation()]
    for change in (lambda: put(store, (1, 10, 20, 5)), lambda: put(store, (1, 10, 20, 5)), store.touch, lambda: store.drop("v")):
        change()
        seen.append(store.generation())
    assert seen == sorted(set(seen))


def test_several_stores_on_one_address_see_the_same(opened: Opener) -> None:
    first, second, reader = opened(), opened(), opened(readonly=True)
    put(first, (1, 10, 20, 5))
    put(second, (1, 11, 20, 6))
    first.close()
    assert read_rows(reader, (1,)) == read_rows(second, (1,)) == [Row(11, 20, (6,))]
    for forbidden in (lambda: put(reader, (1, 1, 1, 1)), reader.touch, lambda: reader.drop("v")):
        with pytest.raises(RequestError, match="reading only"):
            forbidden()


def test_a_readonly_store_sees_what_is_made_later(opened: Opener) -> None:
    reader = opened(readonly=True)
    assert reader.read([("v", [(1,)])]) == [Read((), None, [None])]
    assert reader.generation() == 0
    put(opened(), (1, 10, 20, 5))
    assert read_rows(reader, (1,)) == [Row(10, 20, (5,))]


def test_its_size_is_told_by_table(store: OnlineStore) -> None:
    assert store.size(["v", "w"]).rows == {}
    before = time.time_ns() // 1000
    put(store, (1, 5, 5, 1.0), (2, 5, 5, 2.0))
    put(store, (1, 5, 5, 1.0), name="w")
    size = store.size(["v", "w", "x"])
    assert size.rows == {"v": 2, "w": 1}
    assert size.bytes is not None
    assert size.bytes > 0
    assert size.edition == store.generation()
    assert size.edition >= before, "an edition is the time when it was published"
    assert store.size(["v"]).edition is not None
    put(store, (3, 5, 5, 1.0))
    assert store.size(["v"]).rows == {"v": 3}
