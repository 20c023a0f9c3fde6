"""Requests that make the engine work: so many at once, each in a worker and with a deadline, and none for a client that has left."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from anyio import to_thread
from starlette.types import Receive, Scope
from starlette.types import Send as SendEvent

from featurestore import private
from featurestore.errors import Busy, OutOfResources, Timeout
from featurestore.server.bounds import GRACE_SECONDS, Pool, client_left
from featurestore.server.error_body import document_of
from featurestore.server.errors import response, status_of
from featurestore.server.uploads.process import FULL
from featurestore.server.workers.messages import Ask, Part, Start
from featurestore.server.workers.workers import Gone, Workers

TAKING_SECONDS = 600.0
"""How long a client may take to fetch an answer."""
IN_MEMORY_BYTES = 1 << 20
"""Larger bodies wait on disk for their worker."""

Leaving = asyncio.Task[None]
"""Done when the client has left."""


class BrokenOff(Exception):
    """The worker ended in the middle of its answer: only a broken connection tells the client that the rest is missing."""


class Bounded:
    """An ASGI application that lets a worker answer, and gives requests room, a deadline, and an end when their client leaves.

    A request takes room when its body is there, so that one that is sent slowly keeps nobody waiting. A worker that does not stop when
    it is told to is ended.
    """

    def __init__(self, pool: Pool, workers: Workers, spill: Path) -> None:
        self._pool, self._workers, self._spill = pool, workers, spill

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        private.make_folder(self._spill)
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(self._spill)) as body:
            if not await _spooled(receive, body):
                return
            leaving = asyncio.create_task(_leave(receive))
            sent = Sent(leaving, send)
            try:
                async with self._room(leaving):
                    await self._answer(scope, body, sent)
                await sent.finish()
            except Busy as error:
                await response(status_of(error), document_of(error), {"Retry-After": "5"})(scope, receive, send)
            finally:
                leaving.cancel()

    @asynccontextmanager
    async def _room(self, leaving: Leaving) -> AsyncIterator[None]:
        """A place among the requests that are worked on. Raises: Busy, Timeout when the client left before there was one."""
        place = object()
        entering = asyncio.create_task(self._pool.enter(place))
        try:
            await asyncio.wait({entering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not entering.done():
                raise client_left()
            entering.result()
            yield
        finally:
            if entering.cancel() is False and entering.exception() is None:
                self._pool.leave(place)

    async def _answer(self, scope: Scope, body: IO[bytes], sent: "Sent") -> None:
        """Let a worker answer. Raises: Timeout when it took too long, or the client left; OutOfResources when it broke down; NotReady."""
        ask = Ask(scope["method"], scope["path"], scope.get("raw_path") or b"", scope["query_string"], list(scope["headers"]))
        worker = await self._workers.begin(ask)
        work = asyncio.create_task(worker.answer(body, sent.take))
        try:
            error = await self._overdue(work, sent)
            if error is not None:
                worker.stop(error)
                await asyncio.wait({work}, timeout=GRACE_SECONDS)
            if work.done() and work.exception() is None:
                self._workers.give_back(worker)
        finally:
            if not work.done() or work.exception() is not None:
                work.cancel()
                self._workers.end(worker)
        gone = not work.done() or isinstance(work.exception(), Gone)
        if gone and not sent.begun:
            raise error or _broken()
        if gone or not work.result():
            raise BrokenOff

    async def _overdue(self, work: "asyncio.Task[bool]", sent: "Sent") -> Timeout | None:
        """Wait for the work; the error of work that has to end before it is done."""
        ends = {work, sent.leaving}
        await asyncio.wait(ends, timeout=self._pool.seconds, return_when=asyncio.FIRST_COMPLETED)
        if sent.begun and not sent.leaving.done():
            await asyncio.wait(ends, timeout=TAKING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return None
        return client_left() if sent.leaving.done() else self._pool.deadline()


class Sent:
    """Hands a worker's answer to the client, for as long as it is there.

    The last part waits for `finish`: a client that has the whole answer may ask again at once, and needs the room of its first request.
    """

    def __init__(self, leaving: Leaving, send: SendEvent) -> None:
        self.leaving, self._send = leaving, send
        self.begun = False
        self._last: Part | None = None

    async def take(self, message: Start | Part) -> None:
        """Send the next part of the answer, or keep it if it is the last."""
        self.begun = True
        if isinstance(message, Part) and not message.more:
            self._last = message
        else:
            await self._pass_on(message)

    async def finish(self) -> None:
        """Send the last part. Raises: BrokenOff when the client does not take it in time."""
        if self._last is None:
            return
        try:
            async with asyncio.timeout(TAKING_SECONDS):
                await self._pass_on(self._last)
        except TimeoutError as error:
            raise BrokenOff from error

    async def _pass_on(self, message: Start | Part) -> None:
        if self.leaving.done():
            return
        if isinstance(message, Start):
            await self._send({"type": "http.response.start", "status": message.status, "headers": message.headers})
        else:
            await self._send({"type": "http.response.body", "body": message.content, "more_body": message.more})


def _broken() -> OutOfResources:
    return OutOfResources(
        "the process that worked on this request broke down, as libraries do that get no memory; ask for less at once, lower"
        " query_memory_limit, so that more is spilled, or raise server_memory_limit; had it room, the server's log may say more"
    )


async def _spooled(receive: Receive, body: IO[bytes]) -> bool:
    """Take in the body of a request, to be read from its beginning; False when the client left before it was there."""
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return False
        content, more = event.get("body", b""), event.get("more_body", False)
        size += len(content)
        if size <= IN_MEMORY_BYTES:
            body.write(content)
        else:
            await to_thread.run_sync(_kept, body, content)
    body.seek(0)
    return True


def _kept(body: IO[bytes], content: bytes) -> None:
    try:
        body.write(content)
        body.flush()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OutOfResources("the disk is full: the body of the request cannot be kept; free some space", resource="disk") from error


async def _leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
