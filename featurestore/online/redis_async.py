"""Read a Redis store from an event loop: many lookups at once over a few connections, each with one round trip."""

from contextlib import AbstractContextManager
from typing import Any

from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from featurestore.online.redis_address import ANSWER_SECONDS, CONNECT_SECONDS, SENTINEL_SCHEMES, RedisAddress
from featurestore.online.redis_errors import redis_errors
from featurestore.online.redis_reads import RedisReads
from featurestore.online.redis_sentinel import connect_by_sentinel
from featurestore.online.redis_shared import SharedConnections
from featurestore.online.store import EncodedKeys, EncodedReads


class RedisAsyncReader:
    """An AsyncReader of a Redis server, also of the master that Sentinels name."""

    def __init__(self, url: str) -> None:
        """Raises: RequestError for a wrong address."""
        self._address = RedisAddress.parse(url)
        self._reads = RedisReads(self._address.names)
        self._connections = SharedConnections(_client(self._address).connection_pool)

    async def read_encoded(self, requests: EncodedKeys) -> EncodedReads:
        """See AsyncReader.read_encoded."""
        with self.decoding():
            while True:
                plan = self._reads.plan(requests)
                [values] = await self._connections.mget([plan.headers + plan.rows])
                reads = self._reads.decode(plan, values)
                if reads is not None:
                    return reads

    def decoding(self) -> AbstractContextManager[None]:
        """See AsyncReader.decoding."""
        return redis_errors(self._address.location, self._address.names)

    async def close(self) -> None:
        """See AsyncReader.close."""
        await self._connections.close()


def _client(address: RedisAddress) -> Redis:
    """A client that knows how to connect; it is not used for commands."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        if address.scheme in SENTINEL_SCHEMES:
            client: Redis = connect_by_sentinel(address.url, Sentinel, **options)
            return client
        return Redis.from_url(address.url, **options)
    except (ValueError, TypeError):
        raise address.wrong() from None
