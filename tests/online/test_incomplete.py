"""An online store with missing rows: lookups do not treat it as complete, and the next run fills it."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pyarrow as pa
import pytest
import redis

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.errors import CommitConflict, NotReady
from featurestore.online.edition import BufferedEdition
from featurestore.online.factory import open_online
from featurestore.online.header import decode_header
from featurestore.online.key_sample import SIZE, KeySample
from featurestore.online.lmdb.environments import ENVIRONMENTS
from featurestore.online.redis.publish import RedisPublish
from featurestore.online.store import Cursor, OnlineStore
from tests.online.templates import OnlineTemplate
from tests.online.test_lost import rows
from tests.online.worlds import table
from tests.worlds import load_source

KEYS = [{"k": number} for number in range(4)]


def fill(store: FeatureStore, factor: int = 1) -> None:
    """Materialize the views v and w of the same rows; values times `factor`."""
    load_source(store, "raw.s", rows(0, 1, 2))
    source = Source("s", table="raw.s", timestamp="at")
    entity = Entity("e", keys="k")
    views = [FeatureView(name, entity=entity, source=source, features={"x": f"x * {factor}"}) for name in ("v", "w")]
    store.apply([FeatureService("both", features=[views[0], views[1].aliased("w", keys={"k": "k"})])])
    store.materialize()


@pytest.fixture
def url(template: OnlineTemplate) -> str:
    return template.url


@pytest.fixture
def store(template: OnlineTemplate) -> Iterator[FeatureStore]:
    """The views v and w of the same rows, materialized."""
    with template.opened() as store:
        yield store


@pytest.fixture
def punch(url: str) -> Callable[[], None]:
    """Deletes the row of one key of every table, past the store."""

    def delete_row() -> None:
        if url.startswith("lmdb:"):
            environment = ENVIRONMENTS.acquire(Path(url.removeprefix("lmdb://")), writable=True)
            environment.write(_delete_first)
            ENVIRONMENTS.release(environment)
            return
        address, _, prefix = url.partition("?prefix=")
        with redis.Redis.from_url(address) as client:
            names = sorted(client.scan_iter(f"{prefix}:r:*", count=10_000))
            client.delete(*names[::3])

    return delete_row


@pytest.fixture
def age(url: str) -> Callable[[], None]:
    """Makes the headers of all tables what an earlier version wrote, past the store."""

    def aged(header: bytes | None) -> bytes:
        assert header is not None
        return msgspec.structs.replace(decode_header(header), row_format=1, rows=None, edition=None).encode()

    def age_headers() -> None:
        if url.startswith("lmdb:"):
            environment = ENVIRONMENTS.acquire(Path(url.removeprefix("lmdb://")), writable=True)
            names = [b"\xfftv_v1", b"\xfftw_v1"]
            environment.write(lambda txn: [txn.put(name, aged(bytes(txn.get(name) or b""))) for name in names])
            ENVIRONMENTS.release(environment)
            return
        address, _, prefix = url.partition("?prefix=")
        with redis.Redis.from_url(address) as client:
            for name in client.scan_iter(f"{prefix}:t:*", count=10_000):
                client.set(name, aged(client.get(name)))

    return age_headers


def _delete_first(transaction: lmdb.Transaction) -> None:
    for number in (1, 2):
        with transaction.cursor() as cursor:
            assert cursor.set_range(number.to_bytes(4, "big"))
            assert cursor.delete()


def values(store: FeatureStore) -> list[tuple[Any, ...]]:
    return list(store.online_features("both", KEYS).rows)


def test_a_table_with_too_few_rows_is_not_ready_and_is_filled(store: FeatureStore, punch: Callable[[], None]) -> None:
    assert values(store) == [(1, 1), (11, 11), (21, 21), (None, None)]
    online = store._runtime.online
    assert online.incomplete(["v_v1", "w_v1", "none"]) == {}
    punch()
    messages = online.incomplete(["v_v1", "w_v1", "none"])
    assert set(messages) == {"v_v1", "w_v1"}
    assert "1 of 3" in messages["v_v1"]
    with FeatureStore(settings=store.settings) as other, pytest.raises(NotReady, match=r"v_v1 .* 1 of 3 .*rows are missing") as caught:
        values(other)
    assert caught.value.details["table"] == "v_v1"
    assert [run.published for run in store.materialize()] == [3, 3]
    assert values(store) == [(1, 1), (11, 11), (21, 21), (None, None)]


def test_rows_of_another_catalog_are_not_served(store: FeatureStore, tmp_path: Path, url: str) -> None:
    with FeatureStore(settings=Settings(home=tmp_path / "other", online=url)) as other:
        fill(other, factor=2)
        assert values(other) == [(2, 2), (22, 22), (42, 42), (None, None)]
        with pytest.raises(NotReady, match="rows are of another table of this name"):
            values(store)
        assert [run.published for run in store.materialize()] == [3, 3]
        assert values(store) == [(1, 1), (11, 11), (21, 21), (None, None)]
        with pytest.raises(NotReady, match="another table"):
            values(other)


def test_a_store_keeps_its_identity_and_another_has_another(tmp_path: Path, url: str, store: FeatureStore) -> None:
    online = store._runtime.online
    first, generation = online.identity(), online.generation()
    store.catalog.load_table("raw.s").append(rows(3, day=2))
    store.materialize()
    assert online.identity() == first is not None
    assert online.generation() > generation
    stores = store.catalog.load_table("features.v_v1").properties["featurestore.online-stores"]
    assert first in stores


def test_rows_are_counted_through_all_kinds_of_publishes(redis_url: str, tmp_path: Path) -> None:
    """A count that was wrong by one would make a whole table incomplete."""
    for url in (f"lmdb://{tmp_path / 'counted'}", redis_url):
        store = open_online(url)
        chance = random.Random(7)
        for number in range(1, 25):
            keys = chance.sample(range(30), chance.randint(0, 12))
            gone = pa.table({"customer_id": pa.array(chance.sample(range(30), chance.randint(0, 6)), pa.int64())})
            changed = table([(key, chance.randint(number - 3, number), 1, number) for key in keys * 2])
            store.publish("v", changed, keys=["customer_id"], cursor=Cursor(number, 1), replace=chance.random() < 0.1, removed=gone)
            stored = sum(row is not None for row in store.read([("v", [(key,) for key in range(30)])])[0].rows)
            assert store.incomplete(["v"]) == {}
            assert header_rows(store) == stored
        store.close()


def header_rows(store: OnlineStore) -> int | None:
    store.read([("v", [])])
    tables: Any = getattr(store, "_reads", store)
    entry = tables._tables.get("v")
    return None if entry is None else entry.header.rows


def test_tables_of_an_edition_become_visible_together(store: FeatureStore) -> None:
    online = store._runtime.online
    with online.edition() as edition:
        for name in ("a", "b"):
            edition.add(name, table([(1, 1, 1, 1)]), keys=["customer_id"], cursor=Cursor(1, 1))
        assert online.cursor("a") is None
        assert edition.commit() == {"a": 1, "b": 1}
    first, second = online.read([("a", [(1,)]), ("b", [(1,)])])
    assert first.edition == second.edition == online.generation()
    with online.edition() as edition:
        edition.add("a", table([(1, 2, 1, 2)]), keys=["customer_id"], cursor=Cursor(2, 2), since=Cursor(1, 1))
        edition.add("b", table([(1, 2, 1, 2)]), keys=["customer_id"], cursor=Cursor(2, 2), since=Cursor(9, 9))
        with pytest.raises(CommitConflict) as caught:
            edition.commit()
        assert caught.value.details["table"] == "b"
        assert [online.cursor("a"), online.cursor("b")] == [Cursor(1, 1)] * 2
        edition.add("b", table([(1, 2, 1, 2)]), keys=["customer_id"], cursor=Cursor(2, 2), since=Cursor(1, 1))
        edition.commit()
    third, fourth = online.read([("a", [(1,)]), ("b", [(1,)])])
    assert third.edition == fourth.edition
    assert third.edition is not None
    assert first.edition is not None
    assert third.edition > first.edition


def test_views_of_one_run_are_of_one_edition(store: FeatureStore) -> None:
    before = store.online_features("both", KEYS).edition
    store.catalog.load_table("raw.s").append(rows(0, 1, 2, 3, day=2))
    seen = []
    store.materialize(progress=lambda progress: seen.append((progress.stage, values(store))))
    assert {tuple(found) for stage, found in seen if stage != "done"} == {((1, 1), (11, 11), (21, 21), (None, None))}
    assert values(store) == [(2, 2), (12, 12), (22, 22), (32, 32)]
    after = store.online_features("both", KEYS).edition
    assert before is not None
    assert after is not None
    assert after > before
    assert store.online_features("both", KEYS).to_dict()["edition"] == str(after)


@pytest.mark.slow
@pytest.mark.parametrize("template", ["redis"], indirect=True)
def test_a_redis_that_is_emptied_within_a_publish_is_filled_as_a_whole(
    store: FeatureStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its steps: after the cursor was compared, between rows, before and after the header."""
    address, _, prefix = url.partition("?prefix=")
    with redis.Redis.from_url(address) as client:
        for number, name in enumerate(("_begin", "_remove", "_write", "_make_visible", "_unlink_removed")):
            work, emptied = getattr(RedisPublish, name), list[int]()

            def empty(*given: Any, work: Callable[..., Any] = work, emptied: list[int] = emptied) -> Any:
                if not emptied:
                    emptied.append(client.delete(*client.scan_iter(f"{prefix}*", count=10_000)))
                return work(*given)

            monkeypatch.setattr(RedisPublish, name, empty)
            store.catalog.load_table("raw.s").append(rows(3, day=number + 2))
            store.materialize()
            assert emptied
            monkeypatch.setattr(RedisPublish, name, work)
            store.materialize()
            assert values(store) == [(1, 1), (11, 11), (21, 21), (32 + number, 32 + number)], name


@pytest.mark.parametrize("template", ["lmdb"], indirect=True)
def test_a_folder_deleted_within_a_publish_is_filled_as_a_whole(store: FeatureStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = BufferedEdition.commit

    def deleted(edition: BufferedEdition) -> Any:
        shutil.rmtree(url.removeprefix("lmdb://"))
        monkeypatch.undo()
        return commit(edition)

    monkeypatch.setattr(BufferedEdition, "commit", deleted)
    store.catalog.load_table("raw.s").append(rows(3, day=2))
    store.materialize()
    assert values(store) == [(1, 1), (11, 11), (21, 21), (32, 32)]


def test_a_sample_is_of_all_rows_alike() -> None:
    random.seed(3)
    hits = 0
    for _ in range(60):
        sample = KeySample()
        for start in range(0, 4000, 500):
            sample.add([b"%d" % number for number in range(start, start + 500)], start + 500)
        assert len(set(sample.keys)) == len(sample.keys) == SIZE
        hits += sum(int(key) < 2000 for key in sample.keys)
    assert 0.45 < hits / (60 * SIZE) < 0.55
    sample.remove(sample.keys[:56])
    assert KeySample.decode(sample.encode()).keys == sample.keys
    assert len(sample.keys) == 200


def test_a_header_of_before_rows_were_counted_is_read() -> None:
    shape = {"keys": ["k"], "key_kinds": ["int"], "columns": ["x"], "kinds": ["int"]}
    old = decode_header(msgspec.msgpack.encode([1, shape, {"snapshot_id": 7, "materialized_through": None}, 3, [], None]))
    assert (old.sequence, old.rows, old.edition, old.cursor) == (3, None, None, Cursor(7, None))
