"""Redis Cluster only: slots, replaced writers, nodes that leave and slots that move. The contract is tested with the other stores."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from redis.crc import key_slot

from featurestore.access.rights import Rights
from featurestore.errors import NotReady, RequestError
from featurestore.online.factory import open_async_reader, open_online
from featurestore.online.header import decode_header
from featurestore.online.keys import encode_key
from featurestore.online.redis.address import RedisAddress
from featurestore.online.redis.client import RedisClient
from featurestore.online.redis.lease import Lost
from featurestore.online.redis.rows import HEAD
from featurestore.online.store import Cursor, EncodedKeys, EncodedReads, OnlineStore
from featurestore.pipelines.online_lookup.lookup_json import Answer
from featurestore.server.fast_lookups import FastLookups
from tests import shop
from tests.online.processes import numbers_in
from tests.online.redis.redis_server import redis_cluster
from tests.online.worlds import table
from tests.server.conftest import serve

pytestmark = pytest.mark.slow
KEYS = 60
ALL = [("v", [(key,) for key in range(KEYS)]), ("w", [(key,) for key in range(KEYS)])]
ENCODED: EncodedKeys = [(name, [encode_key(key) for key in keys]) for name, keys in ALL]


@pytest.fixture
def store(cluster_url: str) -> Iterator[OnlineStore]:
    opened = open_online(cluster_url)
    yield opened
    opened.close()


@pytest.fixture
def client(cluster_url: str) -> Iterator[RedisClient]:
    opened = RedisClient(cluster_url)
    yield opened
    opened.commands.close()


def rows_of(client: RedisClient) -> bytes:
    """The beginning of the names of all rows."""
    return client.names.rows_prefix(1).partition(b":1:")[0]


def publish_both(store: OnlineStore, number: int) -> None:
    """Both tables in one edition."""
    rows = table([(key, number, number, number) for key in range(KEYS)])
    with store.edition() as edition:
        for name in ("v", "w"):
            edition.add(name, rows, keys=["customer_id"], cursor=Cursor(number, number))
        edition.commit()


def test_views_of_one_entity_share_a_slot_and_entities_are_spread(store: OnlineStore, client: RedisClient) -> None:
    publish_both(store, 1)
    names = [name for batch in client.rows.find(rows_of(client)) for name in batch]
    slots = {encode_key((key,)): {key_slot(name) for name in names if b"{%b}" % (encode_key((key,)) or b"") in name} for key in range(KEYS)}
    assert len(names) == 2 * KEYS
    assert {len(of_key) for of_key in slots.values()} == {1}
    nodes = {client.commands.get_node_from_key(name).name for name in names}
    assert len(nodes) == 3
    assert len({key_slot(client.names.key(letter, name)) for letter in (b"g", b"t", b"l") for name in ("v", "w")}) == 1


def test_keys_with_braces_are_keys_like_others(store: OnlineStore) -> None:
    texts = ["}", "{", "{}", "a}b", "}{", "", "a}c"]
    rows = table([(text, 1, 1, number) for number, text in enumerate(texts)], key=pa.string())
    store.publish("v", rows, keys=["customer_id"], cursor=Cursor(1, 1))
    [read] = store.read([("v", [(text,) for text in texts])])
    assert [row and row.values for row in read.rows] == [(number,) for number in range(len(texts))]
    assert {key for batch in store.keys("v") for key in batch} == {encode_key((text,)) for text in texts}


def test_an_edition_is_never_mixed(store: OnlineStore, cluster_url: str) -> None:
    publish_both(store, 0)
    stop, wrong, reads = threading.Event(), list[object](), list[int]()

    def watch() -> None:
        with_own = open_online(cluster_url, readonly=True)
        while not stop.is_set():
            seen = set[int | None]().union(*map(numbers_in, with_own.read(ALL)))
            reads.append(1)
            if len(seen) != 1:
                wrong.append(seen)
        with_own.close()

    async def watch_from_the_loop() -> None:
        reader = open_async_reader(cluster_url)
        assert reader is not None
        while not stop.is_set():
            encoded = await reader.read_encoded(ENCODED)
            seen = {None if row is None else row[16:] for read in encoded.tables for row in read.rows}
            reads.append(1)
            if len(seen) != 1 or encoded.tables[0].table is None:
                wrong.append(seen)
        await reader.close()

    threads = [threading.Thread(target=watch), threading.Thread(target=asyncio.run, args=(watch_from_the_loop(),))]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        publish_both(store, number)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(reads) > 20


def test_a_replaced_writer_changes_no_row_of_a_later_one(store: OnlineStore, client: RedisClient) -> None:
    publish_both(store, 1)
    sequence = int(client.commands.get(client.names.key(b"n")))
    publish_both(store, 2)
    names = [name for batch in client.rows.find(rows_of(client)) for name in batch][:2]
    with client.lease([client.names.key(b"l", "v")], seconds=5, wait_seconds=1) as lease:
        assert lease is not None
        with pytest.raises(Lost):
            client.rows.write(lease, {name: HEAD.pack(sequence, 1) + b"x" for name in names}, sequence)
        client.rows.unlink(lease, names, HEAD.pack(sequence, 0))
        client.commands.delete(client.names.key(b"l", "v"))
        with pytest.raises(Lost):
            client.rows.write(lease, {names[0]: HEAD.pack(1 << 40, 1) + b"x"}, 1 << 40)
    assert [numbers_in(read) for read in store.read(ALL)] == [{2}, {2}]


def test_rows_that_are_removed_are_deleted(store: OnlineStore, client: RedisClient) -> None:
    publish_both(store, 1)
    removed = table([(key, 1, 1, 1) for key in range(10)]).select(["customer_id"])
    store.publish("v", table([]), keys=["customer_id"], cursor=Cursor(2, 2), removed=removed)
    assert [row is None for row in store.read(ALL)[0].rows] == [key < 10 for key in range(KEYS)]
    assert sum(len(batch) for batch in client.rows.find(rows_of(client))) == 2 * KEYS - 10
    assert store.incomplete(["v", "w"]) == {}
    [lost] = [name for batch in client.rows.find(rows_of(client)) for name in batch][:1]
    client.commands.delete(lost)
    assert len(store.incomplete(["v", "w"])) == 1
    store.drop("v")
    store.drop("w")
    assert list(client.rows.find(rows_of(client))) == []


def test_a_slot_that_moves_is_followed(store: OnlineStore, cluster_url: str) -> None:
    publish_both(store, 1)

    async def read_around_a_move() -> list[EncodedReads]:
        reader = open_async_reader(cluster_url)
        assert reader is not None
        before = await reader.read_encoded(ENCODED)
        move_a_slot(cluster_url)
        # A lookup is answered by the ordinary route then, which follows the slot.
        with pytest.raises(NotReady):
            await reader.read_encoded(ENCODED)
        after = await reader.read_encoded(ENCODED)
        await reader.close()
        return [before, after]

    before, after = asyncio.run(read_around_a_move())
    assert before == after == store.read_encoded(ENCODED)
    publish_both(store, 2)
    assert [numbers_in(read) for read in store.read(ALL)] == [{2}, {2}]


def move_a_slot(url: str) -> None:
    """Move the slot of one row, with all that is in it, to another node."""
    client = RedisClient(url)
    data = client.header("v")
    assert data is not None
    [name] = client.names.rows(decode_header(data).id, [encode_key((0,)) or b""])
    slot, source = key_slot(name), client.commands.get_node_from_key(name)
    target = next(node for node in client.commands.get_primaries() if node != source)
    at_source, at_target = client.commands.get_redis_connection(source), client.commands.get_redis_connection(target)
    ids = {node: node_client.execute_command("CLUSTER MYID").decode() for node, node_client in ((source, at_source), (target, at_target))}
    at_target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    at_source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    # Also those that other tests left there.
    keys = at_source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
    at_source.execute_command("MIGRATE", target.host, target.port, "", 0, 1000, "KEYS", *keys)
    for node in client.commands.get_primaries():
        client.commands.get_redis_connection(node).execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
    client.commands.close()


def test_a_lost_node_is_not_ready(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as nodes:
        url = f"redis+cluster://{','.join(nodes)}"
        store = open_online(url)
        publish_both(store, 1)
        with redis.Redis.from_url(f"redis://{nodes[1]}") as node:
            node.shutdown(nosave=True)
        with pytest.raises(NotReady, match=r"redis\+cluster://.* does not respond"):
            store.read(ALL)
        reader = open_async_reader(url)
        assert reader is not None

        async def read() -> None:
            try:
                await reader.read_encoded(ENCODED)
            finally:
                await reader.close()

        with pytest.raises(NotReady, match="does not respond"):
            asyncio.run(read())
        store.close()


def test_an_eviction_policy_of_any_node_is_refused(cluster_nodes: list[str], cluster_url: str) -> None:
    with redis.Redis.from_url(f"redis://{cluster_nodes[0]}") as node:
        node.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(NotReady, match="allkeys-lru"):
                open_online(cluster_url)
            open_online(cluster_url, allow_eviction=True).close()
        finally:
            node.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("address", ["redis+cluster:///", "redis+cluster://h/3", "redis+cluster://h:x", "redis+cluster://h?no_such=1"])
def test_a_wrong_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=r"online store is wrong; write redis\+cluster://"):
        open_online(address)


def test_a_cluster_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(NotReady, match=r"redis\+cluster://127\.0\.0\.1:1 does not respond") as caught:
        open_online("redis+cluster://user:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)


def test_names_of_a_single_server_have_no_tags() -> None:
    names = RedisAddress.parse("redis://h/0?prefix=x").names
    assert (names.key(b"t", "v"), names.rows(12, [b"k"])) == (b"x:t:v", [b"x:r:12:k"])
    clustered = RedisAddress.parse("rediss+cluster://h?prefix=x").names
    assert (clustered.key(b"t", "v"), clustered.rows(12, [b"k"])) == (b"{x}:t:v", [b"x:r:12:{k}"])


def test_a_server_answers_from_a_cluster(tmp_path: Path, cluster_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast: list[bool] = []
    answer = FastLookups._answer

    async def watched(self: FastLookups, service: str, content: bytes, full: bool, rights: Rights) -> Answer | None:
        answered = await answer(self, service, content, full, rights)
        fast.append(answered is not None)
        return answered

    monkeypatch.setattr(FastLookups, "_answer", watched)
    with shop.open_shop(tmp_path / "home", online=cluster_url) as store, serve(store) as served:
        body = {"entities": [{"customer_id": number} for number in (1, 2, 99)]}
        answers = [served.http.post("/v1/services/plain/online", json=body) for _ in range(3)]
        ordinary = served.http.post("/v1/services/plain/online?full=TRUE", json=body)
        assert {found.content for found in answers} == {ordinary.content}
        assert fast[-1]
        assert all(compared["same"] for compared in store.verify_online())
