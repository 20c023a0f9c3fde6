"""Run the requests that need queries in worker processes: a limited number at once, each until its deadline or until its client leaves."""

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
from featurestore.server.access.access import principal_of
from featurestore.server.bounds import GRACE_SECONDS, Pool, client_left
from featurestore.server.error_body import document_of
from featurestore.server.errors import response, retry_headers, status_of
from featurestore.server.uploads.process import FULL
from featurestore.server.workers.messages import Ask, Part, Start
from featurestore.server.workers.workers import Gone, Workers

DOWNLOAD_SECONDS = 600.0
"""How long a client may take to download a response."""
IN_MEMORY_BYTES = 1 << 20
"""Request bodies larger than this are spooled to disk."""

Disconnect = asyncio.Task[None]
"""A task that ends when the client disconnects."""


class BrokenOff(Exception):
    """The worker ended in the middle of its response. Only a broken connection can tell the client that the rest is missing."""


class Bounded:
    """An ASGI application that forwards requests to workers.

    It limits how many run at once, and stops a request at its deadline or when its client disconnects; a worker that does not stop is
    killed. A request takes a slot once its body has arrived, so that a slow upload blocks no other request.
    """

    def __init__(self, pool: Pool, workers: Workers, spill: Path) -> None:
        self._pool, self._workers, self._spill = pool, workers, spill

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        private.make_folder(self._spill)
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(self._spill)) as body:
            if not await _spool(receive, body):
                return
            disconnect = asyncio.create_task(_wait_for_disconnect(receive))
            reply = ResponseSender(disconnect, send)
            try:
                async with self._slot(disconnect):
                    await self._answer(scope, body, reply)
                await reply.finish()
            except Busy as error:
                await response(status_of(error), document_of(error), retry_headers(error))(scope, receive, send)
            finally:
                disconnect.cancel()

    @asynccontextmanager
    async def _slot(self, disconnect: Disconnect) -> AsyncIterator[None]:
        """Hold a slot of the pool for the block. Raises: Busy; Timeout if the client left before a slot was free."""
        slot = object()
        entering = asyncio.create_task(self._pool.enter(slot))
        try:
            await asyncio.wait({entering, disconnect}, return_when=asyncio.FIRST_COMPLETED)
            if not entering.done():
                raise client_left()
            entering.result()
            yield
        finally:
            if entering.cancel() is False and entering.exception() is None:
                self._pool.leave(slot)

    async def _answer(self, scope: Scope, body: IO[bytes], reply: "ResponseSender") -> None:
        """Forward the request to a worker and its response to the client.

        Raises: Timeout at the deadline, or if the client left; OutOfResources if the worker crashed; NotReady if none could be started.
        """
        path, principal = (scope["path"], scope.get("raw_path") or b""), principal_of(scope).to_dict()
        ask = Ask(scope["method"], *path, scope["query_string"], list(scope["headers"]), principal)
        worker = await self._workers.begin(ask)
        work = asyncio.create_task(worker.answer(body, reply.take))
        try:
            error = await self._wait_for(work, reply)
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
        if gone and not reply.started:
            raise error or _crash_error()
        if gone or not work.result():
            raise BrokenOff

    async def _wait_for(self, work: "asyncio.Task[bool]", reply: "ResponseSender") -> Timeout | None:
        """Wait until the work ends. Returns the error with which to stop it if it must end early; None if it is done."""
        ends = {work, reply.disconnect}
        await asyncio.wait(ends, timeout=self._pool.seconds, return_when=asyncio.FIRST_COMPLETED)
        if reply.started and not reply.disconnect.done():
            await asyncio.wait(ends, timeout=DOWNLOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return None
        return client_left() if reply.disconnect.done() else self._pool.timeout_error()


class ResponseSender:
    """Sends the response of a worker to the client until it disconnects.

    The last part is sent by `finish`, after the slot is free: a client that has the whole response may send its next request at once.
    """

    def __init__(self, disconnect: Disconnect, send: SendEvent) -> None:
        self.disconnect, self._send = disconnect, send
        self.started = False
        self._last: Part | None = None

    async def take(self, message: Start | Part) -> None:
        """Send the next part of the response, or keep it for `finish` if it is the last."""
        self.started = True
        if isinstance(message, Part) and not message.more:
            self._last = message
        else:
            await self._forward(message)

    async def finish(self) -> None:
        """Send the last part. Raises: BrokenOff if the client does not take it in time."""
        if self._last is None:
            return
        try:
            async with asyncio.timeout(DOWNLOAD_SECONDS):
                await self._forward(self._last)
        except TimeoutError as error:
            raise BrokenOff from error

    async def _forward(self, message: Start | Part) -> None:
        if self.disconnect.done():
            return
        if isinstance(message, Start):
            await self._send({"type": "http.response.start", "status": message.status, "headers": message.headers})
        else:
            await self._send({"type": "http.response.body", "body": message.content, "more_body": message.more})


def _crash_error() -> OutOfResources:
    return OutOfResources(
        "the process that ran this request crashed, as libraries do when an allocation fails; request less data at once, lower"
        " query_memory_limit, so that more is spilled, or raise server_memory_limit; if it had enough memory, see the server's log"
    )


async def _spool(receive: Receive, body: IO[bytes]) -> bool:
    """Copy the body of a request into a file, and rewind it; False if the client left before the body was complete."""
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
            await to_thread.run_sync(_write, body, content)
    body.seek(0)
    return True


def _write(body: IO[bytes], content: bytes) -> None:
    try:
        body.write(content)
        body.flush()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OutOfResources("the disk is full: the body of the request cannot be spooled; free some space", resource="disk") from error


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
