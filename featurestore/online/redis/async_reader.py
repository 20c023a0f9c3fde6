"""Read a Redis store from an event loop: many lookups at once over a few connections, each with one round trip."""

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from featurestore.online.redis.address import ANSWER_SECONDS, CONNECT_SECONDS, SENTINEL_SCHEMES, RedisAddress
from featurestore.online.redis.cluster import cluster_options
from featurestore.online.redis.cluster_connections import ClusterConnections
from featurestore.online.redis.errors import redis_errors
from featurestore.online.redis.reads import ATTEMPTS, RedisReads
from featurestore.online.redis.sentinel import connect_by_sentinel
from featurestore.online.redis.shared_connections import SharedConnections
from featurestore.online.store import EncodedKeys, EncodedReads


class RedisAsyncReader:
    """An AsyncReader of a Redis server, of the master that Sentinels name, or of a cluster."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _address(self) -> RedisAddress:
        return RedisAddress.parse(self._url)

    @cached_property
    def _reads(self) -> RedisReads:
        return RedisReads(self._address.names)

    @cached_property
    def _connections(self) -> SharedConnections | ClusterConnections:
        return _connections(self._address)

    async def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """See AsyncReader.read_encoded."""
        with self.decoding():
            for _ in range(ATTEMPTS):
                plan = self._reads.plan(requests)
                reads = self._reads.decode(plan, await self._connections.fetch(plan.headers, plan.rows))
                if reads is not None:
                    return reads
        raise self._reads.unstable_error(requests, self._address.location)

    def decoding(self) -> AbstractContextManager[None]:
        """See AsyncReader.decoding."""
        return redis_errors(self._address.location, self._address.names)

    async def close(self) -> None:
        """See AsyncReader.close."""
        if "_connections" in self.__dict__:
            await self._connections.close()


def _connections(address: RedisAddress) -> SharedConnections | ClusterConnections:
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        if address.names.clustered:
            nodes, more = cluster_options(address.url)
            return ClusterConnections(lambda: RedisCluster(startup_nodes=[ClusterNode(*node) for node in nodes], **{**options, **more}))
        if address.scheme in SENTINEL_SCHEMES:
            client: Redis = connect_by_sentinel(address.url, Sentinel, **options)
        else:
            client = Redis.from_url(address.url, **options)
    except (ValueError, TypeError):
        raise address.wrong() from None
    # The client only knows how to connect; it is not used for commands.
    return SharedConnections(client.connection_pool.make_connection)
