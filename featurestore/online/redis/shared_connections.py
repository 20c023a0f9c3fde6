"""Connections to Redis that many reads of one event loop share: commands are sent as they come, and answered in their order."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from featurestore.online.redis.address import ANSWER_SECONDS, CONNECT_SECONDS
from featurestore.online.redis.server_rows import Values

CONNECTIONS = 2
"""Connections of one process. One more than one, so that a large answer does not hold up all others."""
BUSY = 2
"""From this number of waiting reads on a connection, another is opened."""
MOST_WAITING = 512
"""Most reads that wait for an answer. More would only wait longer; Redis answers this many in a few milliseconds."""
_Waiting = tuple["asyncio.Future[Values]", float]


class SharedConnection:
    """Sends MGET commands without waiting for the answers of earlier ones. It is closed by its first error, or by a late answer."""

    def __init__(self, connection: AbstractConnection) -> None:
        """`connection` is connected, and not used by others."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        # The deadline is that of the oldest command: one timer for all, and no task for each.
        connection.socket_timeout = None
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._closing = False
        self._reading = self._loop.create_task(self._read())

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._error is None

    @property
    def waiting(self) -> int:
        """The number of commands without an answer."""
        return len(self._waiting)

    async def mget(self, batches: Sequence[Sequence[bytes]]) -> list[Values]:
        """The values of each batch of keys, by one MGET for each, sent at once.

        Raises: RedisError; redis.exceptions.TimeoutError if the answer takes longer than ANSWER_SECONDS.
        """
        if self._error is not None:
            raise self._error
        deadline = self._loop.time() + ANSWER_SECONDS
        answers = [self._loop.create_future() for _ in batches]
        # Nothing else runs between these lines and the write in send_packed_command, so answers come in the order of `_waiting`.
        self._waiting.extend([(answer, deadline) for answer in answers])
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline)
        packed = [hiredis.pack_command((b"MGET", *names)) for names in batches]  # type: ignore[arg-type]
        try:
            await self._connection.send_packed_command(packed, check_health=False)
        except BaseException:
            # Part of the command may have been sent.
            self._fail(RedisConnectionError("the connection broke while a command was sent"))
            raise
        return [await answer for answer in answers]

    async def close(self) -> None:
        """Close the connection. Reads without an answer raise ConnectionError."""
        self._closing = True
        self._fail(RedisConnectionError("the connection was closed"))
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        """Give each answer to the command that waits for it, until the connection breaks or this task is canceled."""
        try:
            while True:
                answer, error = await self._next()
                waiting, _ = self._waiting.popleft()
                # Whoever waited may have left.
                if waiting.done():
                    continue
                if error is None:
                    waiting.set_result(answer)
                else:
                    waiting.set_exception(error)
        except (RedisError, OSError) as error:
            self._fail(error if isinstance(error, RedisError) else RedisConnectionError(str(error)))
        finally:
            # A broken connection is dropped. With TLS, one that is closed in order is open until the server has answered that.
            with suppress(RedisError):
                await self._connection.disconnect(nowait=not self._closing)

    async def _next(self) -> tuple[Values, ResponseError | None]:
        """The next answer, or the error that the server answers with."""
        try:
            values: Values = await self._connection.read_response(disable_decoding=True, timeout=math.inf, disconnect_on_error=False)
        except ResponseError as error:
            return [], error
        return values, None

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        deadline = self._waiting[0][1]
        if deadline <= self._loop.time():
            self._fail(RedisTimeoutError(f"no answer within {ANSWER_SECONDS:g} s"))
            # The reading task closes the connection.
            self._reading.cancel()
        else:
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def _fail(self, error: RedisError) -> None:
        """Take no more commands, and end those that wait with an error."""
        self._error = self._error or error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)
                # Whoever waits for several answers sees only the first error; asyncio would log the others.
                answer.exception()


class SharedConnections:
    """Up to CONNECTIONS connections to one server. They are opened when they are needed, also after they broke."""

    def __init__(self, connector: Callable[[], AbstractConnection]) -> None:
        """`connector` returns a new connection, which is not connected yet."""
        self._connector = connector
        self._connections: list[SharedConnection | None] = [None] * CONNECTIONS
        self._opening: dict[int, asyncio.Task[SharedConnection]] = {}
        self._waiting = 0
        self._closed = False

    async def fetch(self, headers: Sequence[bytes], names: Sequence[bytes]) -> Values:
        """The values of headers and then of rows, from one state. Raises: as `mget`."""
        [values] = await self.mget([[*headers, *names]])
        return values

    async def mget(self, batches: Sequence[Sequence[bytes]]) -> list[Values]:
        """The values of each batch of keys, in one round trip. Sent once more if the connection breaks.

        Raises: RedisError, also if MOST_WAITING reads wait for an answer.
        """
        if self._waiting >= MOST_WAITING:
            raise RedisConnectionError(f"{MOST_WAITING} reads wait for an answer already")
        self._waiting += 1
        try:
            try:
                return await (await self._connection()).mget(batches)
            except RedisConnectionError:
                return await (await self._connection()).mget(batches)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close all connections, and open no more: a read that fails because of that would try once more."""
        self._closed = True
        opening = await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for connection in (*self._connections, *opening):
            if isinstance(connection, SharedConnection):
                await connection.close()

    async def _connection(self) -> SharedConnection:
        """The open connection with the fewest waiting reads. Another is opened while that is busy, or if none is open."""
        if self._closed:
            raise RedisConnectionError("the connections were closed")
        best: SharedConnection | None = None
        closed: int | None = None
        for place, connection in enumerate(self._connections):
            if connection is None or not connection.is_open:
                closed = place
            elif best is None or connection.waiting < best.waiting:
                best = connection
        if best is not None and (closed is None or best.waiting < BUSY):
            return best
        opening = self._open(closed or 0)
        # All who need a connection wait for the same attempt.
        return await asyncio.shield(opening) if best is None else best

    def _open(self, place: int) -> "asyncio.Task[SharedConnection]":
        task = self._opening.get(place)
        if task is None:
            task = self._opening[place] = asyncio.create_task(self._connect(place))
            task.add_done_callback(lambda done: self._finish_opening(place, done))
        return task

    def _finish_opening(self, place: int, task: "asyncio.Task[SharedConnection]") -> None:
        del self._opening[place]
        if not task.cancelled():
            # Raised by those who wait for it, if any do; asyncio would log it otherwise.
            task.exception()

    async def _connect(self, place: int) -> SharedConnection:
        connection = self._connector()
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise RedisTimeoutError(f"no connection within {CONNECT_SECONDS + ANSWER_SECONDS:g} s") from None
        shared = self._connections[place] = SharedConnection(connection)
        return shared
