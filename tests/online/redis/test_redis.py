"""Redis only: prefixes, expired leases, interrupted sequences, an unavailable server."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from featurestore.errors import NotReady, RequestError
from featurestore.online.factory import open_online
from featurestore.online.redis.client import RedisClient
from featurestore.online.redis.lease import Lost
from featurestore.online.redis.store import RedisStore
from featurestore.online.store import Cursor, OnlineStore, Row
from tests.online.processes import numbers_in, publish_round
from tests.online.worlds import table

ALL = [("v", [(0,), (1,), (2,)])]


@pytest.fixture
def store(redis_url: str) -> Iterator[OnlineStore]:
    opened = open_online(redis_url)
    yield opened
    opened.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[RedisClient]:
    opened = RedisClient(redis_url)
    yield opened
    opened.commands.close()


def names(client: RedisClient) -> set[bytes]:
    return {name.removeprefix(client.names.base) for name in client.commands.scan_iter(client.names.base + b"*")}


def test_stores_of_different_prefixes_share_nothing(redis_url: str) -> None:
    # Were prefix and table joined by a colon only, the third would write over the first two.
    prefixes = [redis_url, f"{redis_url}:t", f"{redis_url}%3At%3At", f"{redis_url}*", f"{redis_url}x"]
    stores = [open_online(url) for url in prefixes]
    for number, store in enumerate(stores, 1):
        publish_round(store, "v", number, 3)
        publish_round(store, "t:v", number, 3)
    assert [numbers_in(store.read(ALL)[0]) for store in stores] == [{1}, {2}, {3}, {4}, {5}]
    stores[3].drop("v")
    publish_round(stores[0], "v", 9, 3, replace=True)
    assert [store.cursor("v") for store in stores[:4]] == [Cursor(9, 9), Cursor(2, 2), Cursor(3, 3), None]
    assert [numbers_in(store.read(ALL)[0]) for store in stores[1:3]] == [{2}, {3}]
    for store in stores:
        store.close()


def test_rows_of_replaced_and_dropped_tables_are_deleted(store: OnlineStore, client: RedisClient) -> None:
    publish_round(store, "v", 1, 3000)
    publish_round(store, "v", 2, 1, replace=True)
    assert len([name for name in names(client) if name.startswith(b"r:")]) == 1
    store.drop("v")
    assert names(client) == {b"g", b"i", b"n"}


def test_a_writer_whose_lease_ran_out_writes_nothing_more(store: OnlineStore, client: RedisClient) -> None:
    key = client.names.base + b"l:v"
    with client.lease([key], seconds=0.05, wait_seconds=1) as lease:
        assert lease is not None
        with lease.step() as step:
            step.set(client.names.base + b"x", 1)
        while client.commands.exists(key):
            pass
        publish_round(store, "v", 1, 3)
        with pytest.raises(Lost), lease.step() as step:
            step.set(client.names.base + b"x", 2)
    assert client.commands.get(client.names.base + b"x") == b"1"


def test_a_step_has_no_effect_when_the_lease_is_lost_in_it(client: RedisClient) -> None:
    key = client.names.base + b"l:v"
    with client.lease([key], seconds=5, wait_seconds=1) as lease:
        assert lease is not None
        with contextlib.ExitStack() as stack:
            stack.enter_context(pytest.raises(Lost))
            step = stack.enter_context(lease.step())
            step.set(client.names.base + b"x", 1)
            client.commands.set(key, "another")
    assert client.commands.get(client.names.base + b"x") is None


def test_publishes_that_were_broken_off_never_count(store: OnlineStore, client: RedisClient) -> None:
    publish_round(store, "v", 1, 3)
    for number in (7, 8):
        # A cursor that does not fit 64 bits ends the publish where the header is encoded, when all rows are written.
        with pytest.raises(OverflowError):
            store.publish("v", table([(0, number, 1, 7), (1, number, 1, 7)]), keys=["customer_id"], cursor=Cursor(1 << 70, None))
        assert numbers_in(store.read(ALL)[0]) == {1}
    assert client.commands.llen(client.names.base + b"p:v") == 2
    store.publish("v", table([(0, 2, 2, 2)]), keys=["customer_id"], cursor=Cursor(2, 2))
    assert store.read(ALL)[0].rows == [Row(2, 2, (2,)), Row(1, 1, (1,)), Row(1, 1, (1,))]
    publish_round(store, "v", 3, 3)
    assert numbers_in(store.read(ALL)[0]) == {3}


def test_a_server_that_is_not_there_is_named_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(NotReady, match=r"redis://127\.0\.0\.1:1/3 .*check that it is running") as caught:
        open_online("redis://user:secret@127.0.0.1:1/3")
    assert time.monotonic() - started < 3
    assert "secret" not in str(caught.value)


def test_a_server_that_went_away_is_not_ready(store: OnlineStore, redis_url: str) -> None:
    publish_round(store, "v", 1, 3)
    assert isinstance(store, RedisStore)
    store._commands.connection_pool.disconnect()
    assert numbers_in(store.read(ALL)[0]) == {1}, "a connection that the server closed is opened again"
    store._commands.connection_pool.connection_kwargs["port"] = 1
    store._commands.connection_pool.reset()
    for use in (lambda: store.read(ALL), store.generation, store.touch, lambda: publish_round(store, "v", 2, 3), lambda: store.drop("v")):
        with pytest.raises(NotReady, match="check that it is running"):
            use()


@pytest.mark.parametrize("query", ["prefix=", "socket_timeout=x", "no_such_option=1"])
def test_a_wrong_address_is_refused(redis_address: str, query: str) -> None:
    with pytest.raises(RequestError, match="online store"):
        open_online(f"redis://{redis_address}/0?{query}")
