"""The connection to Redis: an address with a key prefix, short timeouts, and errors of this package."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.exceptions import LockError, ResponseError
from redis.retry import Retry

from featurestore.online.redis.address import ANSWER_SECONDS, CONNECT_SECONDS, SENTINEL_SCHEMES, RedisAddress
from featurestore.online.redis.cluster import ClusterRows, connect_to_cluster
from featurestore.online.redis.errors import redis_errors
from featurestore.online.redis.lease import Lease
from featurestore.online.redis.sentinel import connect_by_sentinel
from featurestore.online.redis.server_rows import RedisRows, ServerRows

# One retry is enough for an idle connection that the server has closed, and a server that is down is reported at once.
_RETRIES = 1


class RedisClient:
    """A Redis database, or the part of one whose keys have the names of this store."""

    def __init__(self, url: str) -> None:
        """Raises: RequestError for a wrong address; NotReady if the server does not respond."""
        parsed = RedisAddress.parse(url)
        self.names, self.address = parsed.names, parsed.location
        try:
            with self.errors():
                self.commands: Any = _connector(parsed)(
                    parsed.url,
                    protocol=2,
                    socket_connect_timeout=CONNECT_SECONDS,
                    socket_timeout=ANSWER_SECONDS,
                    health_check_interval=30,
                    retry=Retry(ExponentialBackoff(cap=0.1, base=0.05), _RETRIES),
                )
                self.commands.ping()
            self.rows: RedisRows = ClusterRows(self.commands) if self.names.clustered else ServerRows(self.commands)
        except (ValueError, TypeError):
            raise parsed.wrong() from None

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Raise errors of the block as NotReady or OutOfResources."""
        return redis_errors(self.address, self.names)

    def header(self, table: str) -> bytes | None:
        """The encoded header of a table, whether its rows can be read or not; None if there is no table."""
        data: bytes | None = self.commands.get(self.names.key(b"t", table))
        return data

    def eviction(self) -> str | None:
        """The policy by which a server evicts keys when its memory is full; None if none does, or if that is unknown."""
        with self.errors():
            policies = [policy for memory in self._memory() if (policy := memory.get("maxmemory_policy")) is not None]
            if not policies:
                answer = _ask(lambda: self.commands.config_get("maxmemory-policy", **self._everywhere()))
                policies = [memory.get("maxmemory-policy") for memory in self._each(answer)]
        return next((policy for policy in policies if policy not in (None, "noeviction")), None)

    def used_bytes(self) -> int | None:
        """The memory that all servers use, for whatever they hold; None if this user may not ask."""
        with self.errors():
            used = [int(memory["used_memory"]) for memory in self._memory() if "used_memory" in memory]
        return sum(used) if used else None

    def _memory(self) -> list[dict[str, Any]]:
        """What each server says of its memory."""
        return self._each(_ask(lambda: self.commands.info("memory", **self._everywhere())))

    def _everywhere(self) -> dict[str, Any]:
        """The arguments with which a command goes to all servers that hold rows."""
        return {"target_nodes": RedisCluster.PRIMARIES} if self.names.clustered else {}

    def _each(self, answer: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The answers of the nodes, of which there is one outside a cluster; none if the question was refused."""
        if answer is None:
            return []
        return list(answer.values()) if self.names.clustered else [answer]

    @contextlib.contextmanager
    def lease(self, keys: Sequence[bytes], seconds: float, wait_seconds: float) -> Iterator[Lease | None]:
        """An exclusive lease on all `keys`; None if one of them did not become free in time."""
        with contextlib.ExitStack() as stack:
            tokens = {}
            # In one order, so that two writers of several tables cannot deadlock.
            for key in sorted(keys):
                lock = self.commands.lock(key, timeout=seconds, sleep=0.02, blocking_timeout=wait_seconds, thread_local=False)
                if not lock.acquire():
                    yield None
                    return
                stack.callback(_release, lock)
                tokens[key] = lock.local.token
            yield Lease(self.commands, tokens, round(seconds * 1000))

    @contextlib.contextmanager
    def claim(self, key: bytes, seconds: float) -> Iterator[Callable[[bytes], None] | None]:
        """Claim an exclusive right, which expires if it is not renewed for some seconds.

        Yields a function that renews it and stores its argument as the progress; None if another process has the right.
        """
        progress = key + b":progress"
        with self.errors():
            lock = self.commands.lock(key, timeout=seconds, blocking=False, thread_local=False)
            acquired = lock.acquire()
        if not acquired:
            yield None
            return

        def show(data: bytes) -> None:
            # If another process has taken over, both continue: concurrent publishes are safe.
            with self.errors(), contextlib.suppress(LockError):
                lock.reacquire()
                self.commands.set(progress, data, ex=max(1, round(seconds)))

        try:
            yield show
        finally:
            with self.errors():
                _release(lock)


def _connector(address: RedisAddress) -> Callable[..., Any]:
    if address.scheme in SENTINEL_SCHEMES:
        return connect_by_sentinel
    return connect_to_cluster if address.names.clustered else redis.Redis.from_url


def _release(lock: Any) -> None:
    # An expired lease cannot be released; the step that failed because of it has raised Lost.
    with contextlib.suppress(LockError):
        lock.release()


def _ask(question: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The server's answer; None if this user may not ask, or the command was renamed."""
    try:
        return question()
    except ResponseError:
        return None
