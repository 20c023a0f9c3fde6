"""Pushes: the same from a store and from the client of a server, and nothing forged gets in."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl
import pyarrow as pa
import pytest

from featurestore import FeatureStore, Settings, Source, Store, connect
from featurestore.errors import Conflict, NotFound, RequestError, TypeMismatch
from tests import forged, shop
from tests.contract.test_store_contract import KINDS, open_store
from tests.waiting import wait_until

AT = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = {"user_id": "bigint", "at": "timestamptz", "amount": "decimal(10,2)", "tags": "varchar[]", "event_id": "uuid"}
FIRST, SECOND = "c9f0f895-fb98-4b91-99f5-1fd297029b55", "45c48cce-2e2d-4fbd-9a1a-fc51c7c6ad26"
THIRD = "6512bd43-d9ca-a6e0-2c99-0b0a82652dca"
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("pushes")) as store:
        yield store


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, home: FeatureStore) -> Iterator[Store]:
    with open_store(request.param, home) as verbs:
        yield verbs


def clicks(name: str) -> Source:
    return Source(name, schema=SCHEMA, timestamp="at", id="event_id")


def test_rows_are_pushed_once(store: Store) -> None:
    source = clicks(f"clicks_{type(store).__name__}".lower())
    store.apply([source])
    assert [dict(item.schema or {}) for item in store.sources() if item.name == source.name] == [SCHEMA]
    row = {"user_id": 1, "at": AT, "amount": "1.50", "tags": ["x", None], "event_id": FIRST}
    done = store.push(source, [row])
    assert (done.source, done.rows, done.new, done.known, done.offset) == (source.name, 1, 1, 0, 1)
    frame = pl.DataFrame({"user_id": [1, 2], "at": [AT, AT], "event_id": [FIRST, SECOND]})
    again = store.push(source.name, frame)
    assert (again.rows, again.new, again.known, again.offset) == (2, 1, 1, 2)
    assert again.acknowledged is not None
    assert done.acknowledged is not None
    assert again.acknowledged >= done.acknowledged


def test_what_is_wrong_is_named(store: Store) -> None:
    source = clicks(f"wrong_{type(store).__name__}".lower())
    store.apply([source, Source("files", table="shop.files", timestamp="at")])
    good = {"user_id": 1, "at": AT, "event_id": FIRST}
    with pytest.raises(TypeMismatch, match="row 1 of the frame, column 'user_id': 'a' is str, but the column is BIGINT"):
        store.push(source, [good, {**good, "user_id": "a"}])
    with pytest.raises(RequestError, match="row 0 of the frame has NULL in the id column 'event_id'"):
        store.push(source, pa.table({"at": [AT], "event_id": pa.array([None], pa.string())}))
    with pytest.raises(NotFound, match="no source 'nowhere'"):
        store.push("nowhere", [good])
    with pytest.raises(Conflict, match="only sources with a schema= are pushed to"):
        store.push("files", [good])
    assert store.push(source, [good]).offset == 1


def test_frames_are_written_and_corrected(store: Store) -> None:
    source = clicks(f"frames_{type(store).__name__}".lower())
    store.apply([source])
    row = {"user_id": 1, "at": AT, "amount": "1.50", "tags": ["x"], "event_id": FIRST}
    frame = pa.Table.from_pylist([row, {**row, "event_id": SECOND}])
    done = store.write(source, frame)
    assert (done.mode, done.rows, done.new, done.corrected) == ("append", 2, 2, 0)
    other = pa.Table.from_pylist([row, {**row, "event_id": SECOND, "user_id": 2}, {**row, "event_id": THIRD}])
    assert store.write(source, other.slice(0, 2)).new == 0
    merged = store.write(source, other, mode="merge")
    assert (merged.rows, merged.new, merged.corrected) == (3, 1, 1)
    again = store.write(source, other, mode="merge")
    assert (again.new, again.corrected, again.snapshot_id) == (0, 0, merged.snapshot_id)
    with pytest.raises(RequestError, match="one row for each"):
        store.write(source, pa.concat_tables([other, other]), mode="merge")
    with pytest.raises(RequestError, match="mode"):
        store.write(source, frame, mode="replace")  # type: ignore[arg-type]


def test_servers_copy_what_is_pushed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, push_copy_every="1s")
    with FeatureStore(settings=settings) as store, shop.serving(store) as url, connect(url) as client:
        client.apply([clicks("copied")])
        row = {"user_id": 1, "at": AT, "event_id": FIRST}
        client.push("copied", [row])
        wait_until(lambda: client.sources()[0].log.waiting == 0)  # type: ignore[union-attr]
        client.push("copied", [row, {**row, "event_id": SECOND}])
        wait_until(lambda: client.sources()[0].log.waiting == 0)  # type: ignore[union-attr]
        rows = store.catalog.load_table("kept.copied").scan().to_arrow().to_pylist()
        assert sorted(str(row["event_id"]) for row in rows) == sorted([FIRST, SECOND])


def test_json_and_arrow_over_http(home: FeatureStore) -> None:
    home.apply([clicks("raw")])
    with shop.serving(home) as url, httpx.Client(base_url=url, timeout=60) as client:
        path, row = "/v1/sources/raw/push", {"at": AT.isoformat(), "event_id": FIRST}
        assert client.post(path, json={"rows": [row]}).json()["new"] == 1
        assert client.post(path, json=[row, {**row, "event_id": SECOND}]).json()["new"] == 1
        assert client.post(path, json={"rows": [row], "more": 1}).status_code == 422
        assert client.post(path, content=b"[]", headers={"Content-Type": "text/plain"}).status_code == 422
        sink = pa.BufferOutputStream()
        rows = pa.table({"at": pa.array([AT]), "event_id": ["6512bd43-d9ca-a6e0-2c99-0b0a82652dca"]})
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        assert client.post(path, content=sink.getvalue().to_pybytes(), headers=ARROW).json()["new"] == 1
        bad = client.post(path, content=forged.forged_offsets(rows), headers=ARROW)
        assert (bad.status_code, bad.json()["error"]["type"]) == (400, "RequestError")
        assert client.get("/v1/sources").json()[-1]["schema"] == SCHEMA
