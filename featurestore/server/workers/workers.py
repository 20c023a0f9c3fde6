"""A pool of worker processes: they are started on demand, reused, and killed if their request does not stop."""

import asyncio
import os
import shutil
import signal
import socket
import uuid
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from anyio import to_thread

from featurestore.errors import FeatureStoreError, NotReady
from featurestore.server.workers.messages import PART_BYTES, Ask, Begin, More, Over, Part, Start, Stop, Taken, receive, send
from featurestore.server.workers.origin import FORKS, WORKER
from featurestore.settings import Settings

BEGIN_SECONDS = 30.0
"""How long a new worker may take to accept a request."""
IDLE_SECONDS = 5.0
"""How long an idle worker may take to accept a request. One that is stopped or swapped out is replaced."""
END_SECONDS = 5.0
"""How long the server's shutdown waits until the files of ended workers are deleted."""

Take = Callable[[Start | Part], Awaitable[None]]


class Gone(Exception):
    """The worker ended before the request was finished."""


class Worker:
    """The web process's side of a worker process; `folder` is where its queries spill."""

    def __init__(self, pid: int, folder: Path, reader: StreamReader, writer: StreamWriter) -> None:
        self._pid, self._folder, self._reader, self._writer = pid, folder, reader, writer

    async def begin(self, ask: Ask) -> bool:
        """Send it a request; whether it accepted. A worker that has ended does not."""
        send(self._writer, ask)
        return isinstance(await receive(self._reader), Taken)

    async def answer(self, body: IO[bytes], take: Take) -> bool:
        """Send the body of the accepted request, and pass each part of the response to `take`.

        Returns whether the response is complete. Raises: Gone.
        """
        while not isinstance(message := await receive(self._reader), Over):
            if isinstance(message, More):
                content = await to_thread.run_sync(body.read, PART_BYTES)
                send(self._writer, Part(content, len(content) == PART_BYTES))
            elif isinstance(message, Start | Part):
                await take(message)
            else:
                raise Gone
        return not message.failed

    def stop(self, error: FeatureStoreError) -> None:
        """Tell it to stop the request with this error."""
        send(self._writer, Stop(str(error), {name: value for name, value in error.details.items() if isinstance(value, bool | float)}))

    def kill(self) -> None:
        """Kill the process, whatever it does."""
        if not self._reader.at_eof():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    async def clear(self) -> None:
        """Wait until the process has ended, and delete its spill folder."""
        while await receive(self._reader) is not None:
            pass
        self._writer.close()
        await to_thread.run_sync(shutil.rmtree, self._folder, True)


class Workers:
    """The workers of a web process, all with the same settings. The caller limits how many are in use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[Worker] = []
        self._clearing: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """Start the fork server, so that the first worker starts fast."""
        await to_thread.run_sync(FORKS.start)

    async def begin(self, ask: Ask) -> Worker:
        """An idle or new worker that has accepted the request. Raises: NotReady."""
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                # The last used worker first: its caches are warm. An idle worker may have ended meanwhile.
                while self._idle:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_SECONDS):
                            if await self._accepts(worker := self._idle.pop(), ask):
                                return worker
                if await self._accepts(worker := await self._fork(), ask):
                    return worker
        except TimeoutError as error:
            raise NotReady(f"no worker process accepted the request within {BEGIN_SECONDS:g} s; try again later") from error
        raise NotReady("the worker process of the request ended at once; the server's log may say why")

    def give_back(self, worker: Worker) -> None:
        """Return a worker to the pool."""
        self._idle.append(worker)

    def end(self, worker: Worker) -> None:
        """Kill a worker, whatever it does, and delete its files in the background."""
        worker.kill()
        clearing = asyncio.create_task(worker.clear())
        self._clearing.add(clearing)
        clearing.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """End the idle workers, and wait until the files of all ended workers are deleted."""
        while self._idle:
            self.end(self._idle.pop())
        if self._clearing:
            await asyncio.wait(self._clearing, timeout=END_SECONDS)

    async def _accepts(self, worker: Worker, ask: Ask) -> bool:
        accepted = False
        try:
            accepted = await worker.begin(ask)
        finally:
            if not accepted:
                self.end(worker)
        return accepted

    async def _fork(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            pid = await to_thread.run_sync(FORKS.fork, WORKER, [theirs.fileno()])
        reader, writer = await asyncio.open_connection(sock=ours)
        # Named like a session's folder, so that maintenance finds it if this process is killed.
        folder = self._settings.spill_path() / f"session-{uuid.uuid4().hex}"
        send(
            writer,
            Begin(self._settings.model_copy(update={"spill_directory": folder}).to_json_with_secrets(), dict(os.environ), os.getcwd()),
        )
        return Worker(pid, folder, reader, writer)
