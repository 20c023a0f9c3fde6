"""Tables that are written by key: what is created, written, refused and recorded."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureStore, FeatureView, Source
from featurestore.errors import Conflict, DefinitionError, FeatureStoreError, NotFound, RequestError, TypeMismatch
from tests.pipelines.written.writing import log_of, moment, rows_as_of, rows_online
from tests.worlds import load_source

FRAME = pd.DataFrame({"customer_id": [1, 2, 3], "spend": [1.0, 2.0, None], "tier": ["a", "b", None]})


@pytest.fixture
def store(tmp_path: Any) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path) as opened:
        yield opened


@pytest.fixture
def customers(store: FeatureStore) -> FeatureStore:
    """A store with a table of customers without a timestamp column."""
    store.create_table("customers", "customer_id", schema=FRAME, description="What they spend", tags={"team": "ds"})
    return store


@pytest.mark.parametrize(
    "frame",
    [FRAME, pl.DataFrame({"customer_id": [1, 2, 3], "spend": [1.0, 2.0, None], "tier": ["a", "b", None]}), pa.Table.from_pandas(FRAME)],
    ids=["pandas", "polars", "arrow"],
)
def test_every_kind_of_frame_is_written_and_published(store: FeatureStore, frame: Any) -> None:
    store.create_table("customers", "customer_id", schema=frame)
    done = store.write_table("customers", frame)
    assert (done.rows, done.rows_appended, done.corrections, done.published) == (3, 3, 0, 3)
    assert rows_online(store, "customers", [{"customer_id": id} for id in (1, 3, 9)]) == [(1.0, "a"), (None, None), (None, None)]


def test_a_table_is_listed_like_a_view_and_survives_an_apply(customers: FeatureStore) -> None:
    load_source(customers, "shop.orders", pa.table({"id": [1], "x": [1], "at": pa.array([moment(1)], pa.timestamp("us", "UTC"))}))
    view = FeatureView("orders", Entity("order", keys="id"), Source("orders", table="shop.orders", timestamp="at"), features=["x"])
    assert ("view", "customers") in customers.apply([view]).others
    (written, declared) = customers.views()
    assert (written.name, written.kind, written.tags, declared.kind) == ("customers", "written", {"team": "ds"}, "row")
    assert [run.view for run in customers.materialize()] == ["orders"]
    with pytest.raises(RequestError, match="customers is a table made by create_table"):
        customers.materialize("customers")
    with pytest.raises(DefinitionError, match="view 'customers', name: a table of this name was made by create_table"):
        customers.plan([FeatureView("customers", view.entity, view.source, features=["x"])])
    with pytest.raises(DefinitionError, match="give exactly one of table="):
        customers.plan([Source("customers", timestamp="at")])
    with pytest.raises(Conflict, match="there is a declared view orders"):
        customers.create_table("orders", "id", schema={"id": "long", "x": "long"})
    with pytest.raises(Conflict, match="view orders is computed from its source"):
        customers.write_table("orders", [{"id": 1}])
    with pytest.raises(NotFound, match="no table 'customer'; did you mean 'customers'"):
        customers.write_table("customer", FRAME)


def test_features_that_a_merge_lacks_keep_their_values(customers: FeatureStore) -> None:
    customers.write_table("customers", FRAME)
    customers.write_table("customers", [{"customer_id": 1, "tier": "z"}, {"customer_id": 7, "tier": "n"}])
    assert rows_online(customers, "customers", [{"customer_id": 1}, {"customer_id": 7}]) == [(1.0, "z"), (None, "n")]
    store = customers
    store.create_table("timed", "id", "at", schema={"id": "long", "at": "timestamp", "a": "int", "b": "int"})
    store.write_table("timed", [{"id": 1, "at": moment(1), "a": 1, "b": 2}])
    store.write_table("timed", [{"id": 1, "at": moment(1), "b": 3}, {"id": 1, "at": moment(2), "b": 4}])
    assert rows_as_of(store, "timed", [{"id": 1, "t": moment(1)}, {"id": 1, "t": moment(2)}]) == [(1, 3), (None, 4)]


def test_equal_rows_and_repeated_runs_add_nothing(store: FeatureStore) -> None:
    store.create_table("timed", "id", "at", schema={"id": "long", "at": "timestamp", "x": "double"})
    rows = [{"id": 1, "at": "2026-01-01", "x": 1}, {"id": 2, "at": "2026-01-01T12:00:00+02:00", "x": float("nan")}]
    first = store.write_table("timed", rows)
    for mode in ("merge", "append", "overwrite"):
        again = store.write_table("timed", rows, mode)
        assert (again.rows_appended, again.snapshot_id) == (0, first.snapshot_id)
    store.create_table("untimed", "id", schema={"id": "long", "x": "double"})
    runs = [store.write_table("untimed", [{"id": 1, "x": 1.0}], run_id="nightly-1").rows_appended for _ in range(2)]
    assert runs == [1, 0]
    assert len(log_of(store, "untimed_v1")) == 1


def test_an_append_does_not_change_rows(store: FeatureStore) -> None:
    store.create_table("timed", "id", "at", schema={"id": "long", "at": "timestamp", "x": "double"})
    store.write_table("timed", [{"id": 1, "at": moment(1), "x": 1.0}], "append")
    with pytest.raises(Conflict, match=r"has a row with id=1 at 2026-01-01T00:00:00.000000Z and other values; mode='append' only adds"):
        store.write_table("timed", [{"id": 2, "at": moment(1), "x": 1.0}, {"id": 1, "at": moment(1), "x": 2.0}], "append")
    assert [row["x"] for row in log_of(store, "timed_v1")] == [1.0]


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (
        [{"k": 1, "d": "2026-01-02", "at": moment(1)}, {"d": "2026-01-02", "at": moment(1)}],
        RequestError,
        "row 1 of the frame has NULL in the key column 'k'",
    ),
    ([{"k": 1, "d": "2026-01-02"}], RequestError, "no timestamp column 'at'"),
    ([{"k": 1, "d": "2026-01-02", "at": None}], RequestError, "row 0 of the frame has NULL in the timestamp column 'at'"),
    (
        [{"k": 1, "d": "2026-01-02", "at": "2999-01-01"}],
        RequestError,
        "row 0 of the frame has 2999-01-01T00:00:00.000000Z in 'at', which is in the future",
    ),
    (
        [{"k": 1, "d": "2026-01-02", "at": moment(1), "xx": 1}],
        RequestError,
        "a column 'xx', which table timed does not have; did you mean 'x'",
    ),
    (
        [{"k": 1, "d": "2026-01-02", "at": moment(1), "x": 1}, {"k": 1, "d": "2026-01-02", "at": moment(1), "x": 1}],
        RequestError,
        r"rows 0 and 1 of the frame have the same k=1, d=datetime.date\(2026, 1, 2\), at=",
    ),
    (
        [{"k": 1, "d": "2026-01-02", "at": moment(1)}, {"k": "b", "d": "2026-01-02", "at": moment(1)}],
        TypeMismatch,
        "row 1 of the frame, column 'k': 'b' is str, but the column is BIGINT",
    ),
    ([{"k": 1, "d": "soon", "at": moment(1)}], TypeMismatch, "row 0 of the frame, column 'd': 'soon' is str, but the column is DATE"),
    (
        [{"k": 1, "d": "2026-01-02", "at": moment(1), "x": 2**31}],
        TypeMismatch,
        r"row 0 of the frame, column 'x': 2147483648 does not fit in INTEGER \(32 bits\)",
    ),
    ([{"k": 1, "d": "2026-01-02", "at": "now"}], TypeMismatch, "column 'at': 'now' is str"),
    ("rows.parquet", RequestError, "the frame is text; give a list of dicts"),
    (pd.DataFrame([[1, 2]], columns=["k", "k"]), RequestError, "more than one column called 'k'"),
    (7, RequestError, "the frame is of type int"),
]


def test_bad_frames_are_refused_by_row_and_column_and_write_nothing(store: FeatureStore) -> None:
    store.create_table("timed", ["k", "d"], "at", schema={"k": "long", "d": "date", "at": "timestamp", "x": "int"})
    for frame, error, message in REFUSED:
        with pytest.raises(error, match=message):
            store.write_table("timed", frame)
    with pytest.raises(RequestError, match="mode='upsert' must be one of 'merge', 'append', 'overwrite'"):
        store.write_table("timed", [], mode="upsert")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="run_id='' must have 1 to 128"):
        store.write_table("timed", [], run_id="")
    assert store.view("timed").snapshot_id is None


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"keys": "id"}, RequestError, "the schema has no key column 'id'"),
        ({"keys": []}, DefinitionError, "keys: is empty"),
        ({"keys": "x"}, TypeMismatch, "the key column 'x' is DOUBLE; a key must not be of type float"),
        ({"timestamp": "when"}, RequestError, "the schema has no timestamp column 'when'"),
        ({"timestamp": "k"}, RequestError, "'k' is a key, and cannot be the timestamp as well"),
        ({"timestamp": "x"}, TypeMismatch, "the timestamp column 'x' is DOUBLE; give timestamps"),
        ({"name": "my table"}, DefinitionError, "'my table' is not a name"),
        ({"name": 7}, RequestError, "name=7 is not text"),
        ({"schema": {"k": "long"}}, DefinitionError, "features: is empty"),
        ({"schema": {"k": "long", "x": "number"}}, TypeMismatch, "schema.x: 'number' is not a type"),
        ({"schema": {"k": "long", "my x": "int"}}, DefinitionError, "'my x' is not a feature name"),
        ({"schema": {"k": "long", "created_timestamp": "int"}}, DefinitionError, "is the name of a key or time column"),
        ({"schema": pa.schema([("k", pa.int64()), ("x", pa.duration("s"))])}, TypeMismatch, "the column 'x' has the type duration"),
        ({"schema": pa.schema([("k", pa.int64()), ("x", pa.time64("us"))])}, TypeMismatch, "the column 'x' of the schema has type TIME"),
        ({"schema": [{"k": 1, "x": None}]}, TypeMismatch, "the column 'x' of the schema has no value"),
        ({"schema": "k long"}, RequestError, "schema='k long' is not a schema; give an Arrow schema"),
        ({"tags": ["a"]}, DefinitionError, "tags: is"),
    ],
)
def test_bad_tables_are_refused(store: FeatureStore, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        store.create_table(**{"name": "t", "keys": "k", "schema": {"k": "long", "x": "double"}, **arguments})
    assert store.views() == []


def test_creating_again_adds_columns_and_keeps_the_version(customers: FeatureStore) -> None:
    customers.write_table("customers", FRAME)
    before = customers.view("customers")
    added = customers.create_table("customers", "customer_id", schema={"customer_id": "long", "age": "int", "spend": "double"})
    assert (added.version, added.fingerprint, list(added.features)) == (1, before.fingerprint, ["spend", "tier", "age"])
    assert (added.description, added.tags) == ("What they spend", {"team": "ds"})
    assert rows_online(customers, "customers", [{"customer_id": 1}]) == [(1.0, "a", None)]
    assert rows_as_of(customers, "customers", [{"customer_id": 1, "t": moment(1).replace(year=2999)}]) == [(1.0, "a", None)]
    customers.write_table("customers", [{"customer_id": 1, "age": 30}])
    assert rows_online(customers, "customers", [{"customer_id": 1}]) == [(1.0, "a", 30)]
    same = customers.create_table("customers", "customer_id", schema=FRAME)
    assert (same.features, same.applied_at) == (added.features, added.applied_at)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"keys": ["customer_id", "tier"]}, "has the keys customer_id, not customer_id, tier"),
        ({"timestamp": "at", "schema": {"customer_id": "long", "at": "timestamp", "x": "int"}}, "has the time of writing as its timestamp"),
        ({"schema": {"customer_id": "long", "spend": "string"}}, "column 'spend' of table customers is DOUBLE, not VARCHAR"),
    ]
    for change, message in refused:
        with pytest.raises(Conflict, match=message):
            customers.create_table(**{"name": "customers", "keys": "customer_id", "schema": FRAME, **change})


def test_history_says_what_happened(customers: FeatureStore) -> None:
    customers.write_table("customers", FRAME, run_id="first")
    customers.create_table("customers", "customer_id", schema={"customer_id": "long", "age": "int"})
    customers.write_table("customers", FRAME.head(1), "overwrite")
    events = customers.history("customers")
    assert [(event.operation, event.rows) for event in events] == [("overwrite", 3), ("add columns", 0), ("merge", 3), ("create", 0)]
    assert events[2].run_id == "first"
    assert len({event.by for event in events}) == 1
    assert events[0].snapshot_id == customers.view("customers").snapshot_id
    assert events == customers.history("customers_v1") == customers.history("features.customers_v1")
    assert [event.operation for event in customers.history("registry.definitions")] == ["apply", "apply"]
    with pytest.raises(NotFound, match="no table 'customer'; did you mean 'customers'"):
        customers.history("customer")
    customers.publish()
    customers.maintain(older_than=timedelta(0))
    after = customers.history("customers")
    assert (after[0].operation, after[0].snapshot_id, after[-1].operation) == ("expire 2 snapshots", None, "create")
    assert customers.history("customers") == after


@pytest.mark.slow
def test_writers_at_once_lose_nothing(store: FeatureStore) -> None:
    store.create_table("timed", "id", "at", schema={"id": "long", "at": "timestamp", "x": "long"})
    errors: list[FeatureStoreError] = []

    def write(writer: int) -> None:
        try:
            for part in range(3):
                store.write_table("timed", [{"id": writer, "at": moment(part + 1), "x": part}, {"id": 0, "at": moment(1), "x": writer}])
        except FeatureStoreError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(1, 4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert errors == []
    log = log_of(store, "timed_v1")
    assert sorted((row["id"], row["x"]) for row in log if row["id"]) == [(writer, part) for writer in (1, 2, 3) for part in range(3)]
    shared = sorted((row["created_timestamp"], row["x"]) for row in log if not row["id"])
    assert len({created for created, _ in shared}) == len(shared)
    assert rows_online(store, "timed", [{"id": 0}]) == [(shared[-1][1],)]
    assert all(comparison.same for comparison in store.verify_online())


def test_a_table_is_removed_and_made_again_with_another_version(customers: FeatureStore) -> None:
    customers.write_table("customers", FRAME)
    customers.remove_view("customers")
    again = customers.create_table("customers", "customer_id", schema={"customer_id": "string", "x": "double[]"})
    assert again.version == 2
    customers.write_table("customers", [{"customer_id": "a", "x": [1.0, None]}])
    assert rows_online(customers, "customers", [{"customer_id": "a"}]) == [([1.0, None],)]
