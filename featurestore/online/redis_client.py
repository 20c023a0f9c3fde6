"""The connection to Redis: an address with a key prefix, short timeouts, and errors of this package."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import LockError, ResponseError, WatchError
from redis.retry import Retry

from featurestore.online.redis_address import ANSWER_SECONDS, CONNECT_SECONDS, SENTINEL_SCHEMES, RedisAddress
from featurestore.online.redis_errors import redis_errors
from featurestore.online.redis_sentinel import connect_by_sentinel

# One retry is enough for an idle connection that the server has closed, and a server that is down is reported at once.
_RETRIES = 1


class Lost(Exception):
    """A writer's lease has expired and another took over, or the connection was lost during a step."""


class RedisClient:
    """A Redis database, or the part of one whose keys have the names of this store."""

    def __init__(self, url: str) -> None:
        """Raises: RequestError for a wrong address; NotReady if the server does not respond."""
        parsed = RedisAddress.parse(url)
        self.names, self.address = parsed.names, parsed.location
        connect = connect_by_sentinel if parsed.scheme in SENTINEL_SCHEMES else redis.Redis.from_url
        try:
            self.commands: Any = connect(
                parsed.url,
                protocol=2,
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                health_check_interval=30,
                retry=Retry(ExponentialBackoff(cap=0.1, base=0.05), _RETRIES),
            )
            with self.errors():
                self.commands.ping()
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
        """The policy by which the server evicts keys when its memory is full; None if it does not evict, or if that is unknown."""
        with self.errors():
            policy = _ask(lambda: self.commands.info("memory").get("maxmemory_policy"))
            if policy is None:
                policy = _ask(lambda: self.commands.config_get("maxmemory-policy").get("maxmemory-policy"))
        return None if policy == "noeviction" else policy

    @contextlib.contextmanager
    def lease(self, keys: Sequence[bytes], seconds: float, wait_seconds: float) -> Iterator["Lease | None"]:
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


def _release(lock: Any) -> None:
    # An expired lease cannot be released; the step that failed because of it has raised Lost.
    with contextlib.suppress(LockError):
        lock.release()


class Lease:
    """The right to write for a few seconds, renewed by every step. A step has no effect after another writer took over."""

    def __init__(self, commands: Any, tokens: Mapping[bytes, bytes], milliseconds: int) -> None:
        self._commands = commands
        self._tokens = tokens
        self._milliseconds = milliseconds

    def is_held(self) -> bool:
        """Whether no other writer has taken over."""
        return bool(self._commands.mget(list(self._tokens)) == list(self._tokens.values()))

    @contextlib.contextmanager
    def step(self, unchanged: Mapping[bytes, bytes | None] | None = None) -> Iterator[Any]:
        """A pipeline whose commands are executed atomically at the end of the block, if the keys of `unchanged` still have its values.

        Raises: Lost, with no effect.
        """
        expected: dict[bytes, bytes | None] = {**self._tokens, **(unchanged or {})}
        with self._commands.pipeline(transaction=True) as pipeline:
            try:
                pipeline.watch(*expected)
                if pipeline.mget(list(expected)) != list(expected.values()):
                    raise Lost
                pipeline.multi()
                for key in self._tokens:
                    pipeline.pexpire(key, self._milliseconds)
                yield pipeline
                pipeline.execute()
            except WatchError as error:
                raise Lost from error


def _ask(question: Callable[[], Any]) -> str | None:
    """The server's answer; None if this user may not ask, or the command was renamed."""
    try:
        answer = question()
    except ResponseError:
        return None
    return answer.decode() if isinstance(answer, bytes) else answer
