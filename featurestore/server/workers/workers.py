"""The workers of a web process: begun when they are needed, used again, and ended where what they do does not end."""

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
"""How long a worker may take to begin with a request."""
IDLE_SECONDS = 5.0
"""How long one that is there already may take: one that the system has stopped, or swapped out, is replaced."""
END_SECONDS = 5.0
"""How long the end of a server waits for what workers leave to be taken away."""

Take = Callable[[Start | Part], Awaitable[None]]


class Gone(Exception):
    """The worker has ended before the request was dealt with."""


class Worker:
    """The web process's side of a worker; `folder` is where its queries spill."""

    def __init__(self, pid: int, folder: Path, reader: StreamReader, writer: StreamWriter) -> None:
        self._pid, self._folder, self._reader, self._writer = pid, folder, reader, writer

    async def begin(self, ask: Ask) -> bool:
        """Have it begin with a request; False when it has ended."""
        send(self._writer, ask)
        return isinstance(await receive(self._reader), Taken)

    async def answer(self, body: IO[bytes], taken: Take) -> bool:
        """Have it answer the request that it has begun with, part by part; whether the answer is whole. Raises: Gone."""
        while not isinstance(message := await receive(self._reader), Over):
            if isinstance(message, More):
                content = await to_thread.run_sync(body.read, PART_BYTES)
                send(self._writer, Part(content, len(content) == PART_BYTES))
            elif isinstance(message, Start | Part):
                await taken(message)
            else:
                raise Gone
        return not message.failed

    def stop(self, error: FeatureStoreError) -> None:
        """Tell it to end what it does with this error."""
        send(self._writer, Stop(str(error), {name: value for name, value in error.details.items() if isinstance(value, bool | float)}))

    def kill(self) -> None:
        """End it, whatever it does."""
        if not self._reader.at_eof():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    async def clear(self) -> None:
        """When it has ended, take away what it leaves."""
        while await receive(self._reader) is not None:
            pass
        self._writer.close()
        await to_thread.run_sync(shutil.rmtree, self._folder, True)


class Workers:
    """Workers over the same settings. How many there are is for those to bound who take them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[Worker] = []
        self._clearing: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """Begin what workers are forked from, so that the first one is there at once."""
        await to_thread.run_sync(FORKS.start)

    async def begin(self, ask: Ask) -> Worker:
        """A worker that nobody else has, and that has begun with a request. Raises: NotReady."""
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                # The last one first: it has tables and libraries at hand. One that nobody had may have ended since.
                while self._idle:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_SECONDS):
                            if await self._begins(worker := self._idle.pop(), ask):
                                return worker
                if await self._begins(worker := await self._forked(), ask):
                    return worker
        except TimeoutError as error:
            raise NotReady(f"no process began with the request in {BEGIN_SECONDS:g} s; try again later") from error
        raise NotReady("the process that was to work on the request ended at once; the server's log may say why")

    def give_back(self, worker: Worker) -> None:
        """Let others have it."""
        self._idle.append(worker)

    def end(self, worker: Worker) -> None:
        """End a worker, whatever it does, and clear up after it."""
        worker.kill()
        clearing = asyncio.create_task(worker.clear())
        self._clearing.add(clearing)
        clearing.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """End those that nobody has. Those of requests that were broken off are ended by now; what they leave goes with the rest."""
        while self._idle:
            self.end(self._idle.pop())
        if self._clearing:
            await asyncio.wait(self._clearing, timeout=END_SECONDS)

    async def _begins(self, worker: Worker, ask: Ask) -> bool:
        begun = False
        try:
            begun = await worker.begin(ask)
        finally:
            if not begun:
                self.end(worker)
        return begun

    async def _forked(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            pid = await to_thread.run_sync(FORKS.ask, WORKER, [theirs.fileno()])
        reader, writer = await asyncio.open_connection(sock=ours)
        # A session's name, so that upkeep finds it should this process be killed.
        folder = self._settings.spill_path() / f"session-{uuid.uuid4().hex}"
        send(
            writer,
            Begin(self._settings.model_copy(update={"spill_directory": folder}).to_json_with_secrets(), dict(os.environ), os.getcwd()),
        )
        return Worker(pid, folder, reader, writer)
