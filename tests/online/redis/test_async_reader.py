"""Reads of Redis from an event loop: the same as those of the store, over few connections, within a second, or NotReady."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from featurestore.errors import NotReady, RequestError
from featurestore.online.factory import open_async_reader, open_online
from featurestore.online.keys import encode_key
from featurestore.online.redis.async_reader import RedisAsyncReader
from featurestore.online.redis.shared_connections import CONNECTIONS, MOST_WAITING, SharedConnections
from featurestore.online.store import AsyncReader, EncodedKeys, EncodedReads
from tests.online.processes import publish_round
from tests.online.redis.redis_server import redis_server

T = TypeVar("T")
KEYS = 3
REQUESTS: EncodedKeys = [("v", [encode_key((key,)) for key in range(KEYS)]), ("w", [None, encode_key((7,))])]


def run(url: str, use: Callable[[AsyncReader], Awaitable[T]]) -> T:
    async def used() -> T:
        reader = open_async_reader(url)
        assert reader is not None
        try:
            return await use(reader)
        finally:
            await reader.close()

    return asyncio.run(used())


def rows_of(reads: EncodedReads) -> list[list[bytes | None]]:
    return [table.rows for table in reads.tables]


def test_reads_are_those_of_the_store(redis_url: str) -> None:
    store = open_online(redis_url)

    async def read_twice(reader: AsyncReader) -> list[EncodedReads]:
        before = await reader.read_encoded(REQUESTS)
        assert before == store.read_encoded(REQUESTS) == EncodedReads(0, before.tables)
        publish_round(store, "v", 1, KEYS)
        first = await reader.read_encoded(REQUESTS)
        publish_round(store, "v", 2, KEYS)
        publish_round(store, "w", 3, KEYS, replace=True)
        return [first, await reader.read_encoded(REQUESTS)]

    first, second = run(redis_url, read_twice)
    assert second == store.read_encoded(REQUESTS)
    assert None not in first.tables[0].rows
    assert first.tables[1].table is None
    assert first.tables[0].rows != second.tables[0].rows
    store.close()


def test_many_reads_share_few_connections(tmp_path: Path) -> None:
    with redis_server(tmp_path) as address:
        url = f"redis://{address}/0"
        store = open_online(url)
        publish_round(store, "v", 1, KEYS)

        async def read_many(reader: AsyncReader) -> list[EncodedReads]:
            await reader.read_encoded(REQUESTS)
            return await asyncio.gather(*(reader.read_encoded(REQUESTS) for _ in range(MOST_WAITING)))

        with redis.Redis.from_url(url) as client:
            before = client.info("stats")["total_connections_received"]
            reads = run(url, read_many)
            assert client.info("stats")["total_connections_received"] - before <= CONNECTIONS
        assert all(read == store.read_encoded(REQUESTS) for read in reads)
        store.close()


def test_reads_beyond_those_that_may_wait_are_not_ready(redis_url: str) -> None:
    async def read_too_many(reader: AsyncReader) -> list[EncodedReads | BaseException]:
        return await asyncio.gather(*(reader.read_encoded(REQUESTS) for _ in range(MOST_WAITING + 5)), return_exceptions=True)

    refused = [read for read in run(redis_url, read_too_many) if isinstance(read, NotReady)]
    assert len(refused) == 5
    assert all("wait for an answer" in str(error) for error in refused)


def test_reads_after_the_end_open_no_connection(redis_url: str) -> None:
    async def read_after_closing(reader: AsyncReader) -> list[EncodedReads | BaseException]:
        await reader.read_encoded(REQUESTS)
        reading = [asyncio.ensure_future(reader.read_encoded(REQUESTS)) for _ in range(3)]
        await asyncio.sleep(0)
        await reader.close()
        return await asyncio.gather(*reading, reader.read_encoded(REQUESTS), return_exceptions=True)

    assert isinstance(run(redis_url, read_after_closing)[-1], NotReady)


def test_a_broken_connection_is_opened_again(tmp_path: Path) -> None:
    with redis_server(tmp_path) as address:
        url = f"redis://{address}/0"
        store = open_online(url)
        publish_round(store, "v", 1, KEYS)

        async def read_after_a_break(reader: AsyncReader) -> list[EncodedReads]:
            first = await reader.read_encoded(REQUESTS)
            with redis.Redis.from_url(url) as client:
                assert client.client_kill_filter(_type="normal", skipme=True)
            # The first read may meet the closed connection, before the event loop has noticed.
            return [first, await reader.read_encoded(REQUESTS), await reader.read_encoded(REQUESTS)]

        assert all(read == store.read_encoded(REQUESTS) for read in run(url, read_after_a_break))
        store.close()


def test_an_error_of_the_server_is_that_of_one_read(redis_url: str) -> None:
    store = open_online(redis_url)
    publish_round(store, "v", 1, KEYS)

    async def read_without_keys(reader: AsyncReader) -> EncodedReads:
        assert isinstance(reader, RedisAsyncReader)
        assert isinstance(reader._connections, SharedConnections)
        with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
            await reader._connections.mget([[]])
        return await reader.read_encoded(REQUESTS)

    assert run(redis_url, read_without_keys) == store.read_encoded(REQUESTS)
    store.close()


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_not_ready_within_its_deadline(tmp_path: Path) -> None:
    with redis_server(tmp_path) as address, redis.Redis.from_url(f"redis://{address}") as client:
        pid = client.info("server")["process_id"]

        async def read_while_stopped(reader: AsyncReader) -> EncodedReads:
            await reader.read_encoded(REQUESTS)
            os.kill(pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                late = await asyncio.gather(*(reader.read_encoded(REQUESTS) for _ in range(50)), return_exceptions=True)
                assert time.monotonic() - started < 3
            finally:
                os.kill(pid, signal.SIGCONT)
            assert {type(error) for error in late} == {NotReady}
            return await reader.read_encoded(REQUESTS)

        assert run(f"redis://{address}/0", read_while_stopped).generation == 0


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    async def read(reader: AsyncReader) -> EncodedReads:
        return await reader.read_encoded(REQUESTS)

    for scheme, path in (("redis", "/3"), ("rediss", "/3"), ("redis+sentinel", "/main")):
        with pytest.raises(NotReady, match=rf"{scheme.replace('+', '[+]')}://127\.0\.0\.1:1{path} does not respond") as caught:
            run(f"{scheme}://user:secret@127.0.0.1:1{path}", read)
        assert "secret" not in str(caught.value)


def test_invalid_data_is_not_ready(redis_url: str, redis_address: str) -> None:
    store = open_online(redis_url)
    publish_round(store, "v", 1, KEYS)
    prefix = redis_url.partition("prefix=")[2]
    with redis.Redis.from_url(f"redis://{redis_address}/0") as client:
        client.set(f"{prefix}:t:v", b"\xc1")

    async def read(reader: AsyncReader) -> EncodedReads:
        return await reader.read_encoded(REQUESTS)

    with pytest.raises(NotReady, match="invalid data"):
        run(redis_url, read)
    store.close()


@pytest.mark.parametrize("url", ["redis://h/0?prefix=", "redis://h:x/0", "redis+sentinel://h"])
def test_a_wrong_address_is_refused_at_the_first_read(url: str) -> None:
    async def read(reader: AsyncReader) -> None:
        with pytest.raises(RequestError, match="online store"):
            await reader.read_encoded([("v", [b"k"])])

    run(url, read)


def test_a_local_store_is_read_without_waiting(tmp_path: Path) -> None:
    assert open_async_reader(f"lmdb://{tmp_path}") is None
