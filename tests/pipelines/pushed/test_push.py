"""Pushed rows are in the source's table exactly once, with the time at which they were acknowledged; what does not fit is refused whole."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import Conflict, DefinitionError, NotFound, NotReady, RequestError, TooLarge
from featurestore.push.sqlite_log import SqliteLog

USER = Entity("user", keys="user_id")
SCHEMA = {"user_id": "bigint", "at": "timestamptz", "amount": "double", "event_id": "varchar"}
T = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def clicks(**more: str) -> Source:
    return Source("clicks", schema={**SCHEMA, **more}, timestamp="at", id="event_id")


def views(source: Source) -> FeatureService:
    sums = FeatureView(
        "sums", entity=USER, source=source, every="1h", features={"n": agg.count(over="1d"), "s": agg.sum("amount", over="1d")}
    )
    return FeatureService("s", features=[sums, FeatureView("last", entity=USER, source=source, features=["amount"])])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    store.apply([views(clicks())])
    return store


def row(user: int, at: datetime, amount: float | None, event: str) -> dict[str, Any]:
    return {"user_id": user, "at": at, "amount": amount, "event_id": event}


def stored(store: FeatureStore) -> list[dict[str, Any]]:
    return sorted(store.catalog.load_table("kept.clicks").scan().to_arrow().to_pylist(), key=lambda row: row["event_id"])


def test_pushed_rows_are_computed_from(store: FeatureStore) -> None:
    rows = [row(1, T, 2.0, "a"), row(2, T + HOUR, 0.5, "b")]
    done = [
        store.push("clicks", rows),
        store.push(clicks(), pd.DataFrame([*rows, row(1, T + HOUR, 3.0, "c")])),
        store.push("clicks", pl.DataFrame([row(1, T, 9.0, "a")])),
        store.push("clicks", pa.Table.from_pylist([row(1, T + HOUR, 4.0, "d"), row(1, T + HOUR, 4.0, "d")])),
        store.push("clicks", []),
    ]
    assert [(one.rows, one.new, one.known, one.offset) for one in done] == [
        (2, 2, 0, 1),
        (3, 1, 2, 2),
        (1, 0, 1, 2),
        (2, 1, 1, 3),
        (0, 0, 0, None),
    ]
    before = datetime.now(UTC)
    store.materialize()
    assert [(row["event_id"], row["amount"]) for row in stored(store)] == [("a", 2.0), ("b", 0.5), ("c", 3.0), ("d", 4.0)]
    acknowledged = [row["acknowledged"] for row in stored(store)]
    assert acknowledged == [done[0].acknowledged, done[0].acknowledged, done[1].acknowledged, done[3].acknowledged]
    # Late rows correct what was computed, and nothing is added twice.
    store.push("clicks", [row(1, T - HOUR, 10.0, "late"), row(1, T, 2.0, "a")])
    store.materialize()
    assert store.materialize()[0].rows_appended == 0
    spine = pa.table({"user_id": [1, 1], "t": pa.array([T + 2 * HOUR, T + HOUR], pa.timestamp("us", "UTC"))})
    assert [dict(row)["s_1d"] for row in store.point_in_time("s", spine, "t").to_pylist()] == [19.0, 12.0]
    then = pa.table({"user_id": [1], "t": pa.array([before], pa.timestamp("us", "UTC"))})
    joined = store.point_in_time("s", then, "t", known="then").to_pylist()[0]
    assert joined["amount"] == 4.0


@pytest.mark.parametrize(
    "rows, message",
    [
        ([row(1, T, 1.0, "x"), {**row(1, T, 1.0, "y"), "user_id": "one"}], "row 1 of the frame, column 'user_id': 'one' is str"),
        ([{**row(1, T, 1.0, "x"), "user_id": 1.5}], "row 0 of the frame, column 'user_id'"),
        ([row(1, T, 1.0, "x"), {"user_id": 1, "at": T}], "row 1 of the frame has NULL in the id column 'event_id'"),
        ([{"user_id": 1, "event_id": "x", "at": None}], "row 0 of the frame has NULL in the timestamp column 'at'"),
        ([row(1, datetime.now(UTC) + HOUR, 1.0, "x")], "in the future"),
        ([{"user_id": 1, "event_id": "x"}], "has no column 'at', the timestamp of source clicks"),
        ([{**row(1, T, 1.0, "x"), "amuont": 1.0}], "did you mean 'amount'"),
        ([{**row(1, T, 1.0, "x"), "acknowledged": T}], "which the store sets itself"),
        ([1], "row 0 of the frame is int"),
        ("clicks.csv", "is text"),
        (pa.table({"at": pa.array([T] * 100_001), "event_id": ["x"] * 100_001}), "has 100,001 rows"),
    ],
)
def test_a_push_is_refused_whole(store: FeatureStore, rows: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        store.push("clicks", rows)
    assert store.push("clicks", [row(1, T, 1.0, "x")]).offset == 1


def test_rows_of_too_many_bytes_are_refused(store: FeatureStore) -> None:
    with pytest.raises(TooLarge, match="a push has at most 33,554,432"):
        store.push("clicks", [row(1, T, 1.0, "x" * (33 << 20))])


def test_only_sources_with_a_schema_are_pushed_to(store: FeatureStore) -> None:
    with pytest.raises(NotFound, match="clicks"):
        store.push("click", [])
    store.apply([Source("files", path="*.csv", timestamp="at")])
    with pytest.raises(Conflict, match="schema="):
        store.push("files", [])


def test_columns_may_be_added_and_keep_their_types(store: FeatureStore) -> None:
    store.push("clicks", [row(1, T, 1.0, "a")])
    wider = clicks(session="uuid", parts="double[]", day="date")
    session = UUID("c9f0f895-fb98-4b91-99f5-1fd297029b55")
    store.apply([views(wider)])
    more = {"session": str(session), "parts": [1, 2.5], "day": "2026-03-01"}
    store.push("clicks", [{**row(1, T, 1.0, "b"), **more}])
    store.materialize()
    assert [(row["session"], row["parts"], row["day"]) for row in stored(store)] == [
        (None, None, None),
        (session, [1.0, 2.5], date(2026, 3, 1)),
    ]
    assert {view.version for view in store.views()} == {1}
    with pytest.raises(DefinitionError, match="'amount' as double: what was pushed keeps its type"):
        store.apply([clicks(amount="bigint")])
    fewer = {name: SCHEMA[name] for name in ("user_id", "at", "event_id")}
    store.apply([Source("clicks", schema=fewer, timestamp="at", id="event_id")])
    with pytest.raises(RequestError, match="a column 'amount', which the schema"):
        store.push("clicks", [row(1, T, 1.0, "c")])


def test_old_ids_are_found_in_the_table(tmp_path: Path) -> None:
    store = FeatureStore(settings=Settings(home=tmp_path, push_remembers="1h"))
    store.apply([views(clicks())])
    store.push("clicks", [row(1, T, 1.0, "a"), row(1, T, 1.0, "b")])
    store.materialize()
    log = store.backend.runtime.event_log
    assert isinstance(log, SqliteLog)
    log._forget(1, 1 << 60)
    assert store.push("clicks", [row(1, T, 1.0, "a"), row(1, T, 1.0, "c")]).new == 2
    store.materialize()
    assert [row["event_id"] for row in stored(store)] == ["a", "b", "c"]


def test_the_table_outlives_its_views_and_knows_its_log(store: FeatureStore, tmp_path: Path) -> None:
    store.push("clicks", [row(1, T, 1.0, "a")])
    store.materialize()
    store.remove_service("s")
    store.remove_view("sums")
    store.remove_view("last")
    assert len(stored(store)) == 1
    store.push("clicks", [row(1, T, 1.0, "b")])
    store.apply([views(clicks())])
    store.close()
    for path in (tmp_path / "home").glob("push.sqlite*"):
        path.unlink()
    with pytest.raises(NotReady, match="is another one than that of source clicks"):
        store.push("clicks", [row(1, T, 1.0, "c")])
    with pytest.raises(NotReady, match="is another one than that of source clicks"):
        store.materialize(["last"])


def test_wrong_schemas_are_named(tmp_path: Path) -> None:
    store = FeatureStore(home=tmp_path)
    wrong = Source(
        "bad",
        schema={"a": "varchr", "A": "int", "at": "varchar", "__fs_x": "int", "acknowledged": "int"},
        timestamp="at",
        id="q",
        zone="UTC",
    )
    with pytest.raises(DefinitionError) as raised:
        store.plan([wrong])
    fields = {problem.field for problem in raised.value.problems}
    assert fields == {"schema.a", "schema.A", "timestamp", "schema.__fs_x", "schema.acknowledged", "id", "zone"}
