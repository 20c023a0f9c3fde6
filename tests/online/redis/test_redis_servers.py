"""Redis behind Sentinels and Redis with TLS: real servers that the test starts."""

import asyncio
import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from featurestore.errors import NotReady, RequestError
from featurestore.online.factory import open_async_reader, open_online
from featurestore.online.keys import encode_key
from featurestore.online.store import EncodedKeys, EncodedReads
from tests.online.processes import numbers_in, publish_round
from tests.online.redis.redis_server import free_port, make_certificate, redis_cluster, redis_server
from tests.waiting import rest

ALL = [("v", [(0,), (1,), (2,)])]
SECONDS = 30.0


@contextmanager
def sentinel(folder: Path, master: str) -> Iterator[str]:
    """host:port of a Sentinel that watches a master under the name of main, and needs no other to agree."""
    host, _, master_port = master.partition(":")
    port = free_port()
    settings = folder / f"sentinel-{port}.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main {host} {master_port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
    program = shutil.which("redis-server")
    assert program is not None
    process = subprocess.Popen([program, str(settings), "--sentinel"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "+monitor master" in line:
            break
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def until(look: Callable[[], Any]) -> None:
    """Look until it is true; what is not ready yet is not."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if look():
                return
        except (NotReady, redis.RedisError):
            pass
        rest()
    pytest.fail(f"not within {SECONDS} s")


@pytest.mark.slow
def test_after_a_failover_the_new_master_is_used(tmp_path: Path) -> None:
    with ExitStack() as servers, ExitStack() as first:
        master = first.enter_context(redis_server(tmp_path))
        replica = servers.enter_context(redis_server(tmp_path, "--replicaof", *master.split(":")))
        watching = servers.enter_context(sentinel(tmp_path, master))
        store = open_online(f"redis+sentinel://127.0.0.1:1,{watching}/main/0?prefix=x")

        def publish() -> bool:
            publish_round(store, "v", 2, 3)
            return True

        publish_round(store, "v", 1, 3)
        with redis.Redis.from_url(f"redis://{master}") as client, redis.Redis.from_url(f"redis://{watching}") as asked:
            until(lambda: client.wait(1, 1000))
            until(lambda: asked.sentinel_master("main")["num-slaves"])
        first.close()
        until(lambda: numbers_in(store.read(ALL)[0]) == {1})
        until(publish)
        assert numbers_in(store.read(ALL)[0]) == {2}
        with redis.Redis.from_url(f"redis://{replica}") as client:
            assert client.role()[0] == b"master"
        store.close()


@pytest.mark.parametrize("address", ["redis+sentinel://127.0.0.1:1", "redis+sentinel:///main", "redis+sentinel://h:x/main"])
def test_a_wrong_address_of_sentinels_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="online store is wrong"):
        open_online(address)


@pytest.mark.slow
def test_sentinels_that_are_not_there_are_named_without_the_password() -> None:
    with pytest.raises(NotReady, match=r"redis\+sentinel://127\.0\.0\.1:1/main") as caught:
        open_online("redis+sentinel://user:secret@127.0.0.1:1/main")
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_tls_is_verified_by_the_given_authority(tmp_path: Path) -> None:
    tls, port = make_certificate(tmp_path), free_port()
    with redis_server(tmp_path, "--tls-port", str(port), *tls.options, "--tls-auth-clients", "no"):
        url = f"rediss://127.0.0.1:{port}/0"
        with pytest.raises(NotReady, match="certificate"):
            open_online(url)
        store = open_online(f"{url}?ssl_ca_certs={tls.certificate}")
        publish_round(store, "v", 1, 3)
        assert numbers_in(store.read(ALL)[0]) == {1}
        store.close()


@pytest.mark.slow
def test_a_cluster_takes_tls_on_all_connections(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    with redis_cluster(tmp_path, tls=tls) as nodes:
        url = f"rediss+cluster://{','.join(nodes)}"
        with pytest.raises(NotReady, match="certificate"):
            open_online(url)
        with pytest.raises(NotReady):
            open_online(f"redis+cluster://{','.join(nodes)}")
        trusting = f"{url}?ssl_ca_certs={tls.certificate}"
        store = open_online(trusting)
        publish_round(store, "v", 1, 3)
        assert numbers_in(store.read(ALL)[0]) == {1}
        encoded = [(name, [encode_key(key) for key in keys]) for name, keys in ALL]
        assert asyncio.run(read_once(trusting, encoded)) == store.read_encoded(encoded)
        # A connection that was left open would warn.
        gc.collect()
        store.close()


async def read_once(url: str, encoded: EncodedKeys) -> EncodedReads:
    reader = open_async_reader(url)
    assert reader is not None
    try:
        return await reader.read_encoded(encoded)
    finally:
        await reader.close()
