"""The worker process: serves the routes of a feature store, one request at a time, to the web process that it belongs to."""

import asyncio
import gc
import json
import os
import socket
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from importlib import import_module

from starlette.types import ASGIApp, Scope
from starlette.types import Message as Event

from featurestore import verbs
from featurestore.access.principal import Principal
from featurestore.engine.watch import INTERRUPT_INTERVAL, Bounds, Watch, use_watch
from featurestore.errors import Timeout
from featurestore.server import forks, logs
from featurestore.server.access.worker_access import PRINCIPAL
from featurestore.server.app import engine_app
from featurestore.server.jobs import memory
from featurestore.server.workers import evaluation
from featurestore.server.workers.messages import PART_BYTES, Ask, Begin, Message, More, Over, Part, Start, Stop, Taken, receive, send
from featurestore.server.workers.origin import EVALUATION
from featurestore.settings import Settings
from featurestore.store import FeatureStore

NICENESS = 5


def main() -> None:
    """Run the fork server of workers and evaluations. It has imported all that they need, or each would take half a second to do so."""
    for module in verbs.names_of_all():
        import_module(module)
    # Garbage collection writes to every object that it visits, so that each fork would copy the memory of all modules.
    gc.freeze()
    forks.serve(work, quiet=False)


def work(message: bytes, descriptors: Sequence[int]) -> None:
    """Run a worker or an evaluation until the web process at the other end of the socket is gone."""
    (connection,) = descriptors
    if message == EVALUATION:
        evaluation.work(connection)
        return
    # Lower priority than the web process, which answers lookups and probes.
    os.nice(NICENESS)
    asyncio.run(_work(socket.socket(fileno=connection)))


async def _work(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    begin = await receive(reader)
    if isinstance(begin, Begin):
        os.environ.clear()
        os.environ.update(begin.environment)
        os.chdir(begin.directory)
        time.tzset()
        logs.begin()
        settings = Settings(**json.loads(begin.settings))
        memory.limit_subprocess(settings.server_memory())
        bounds = Bounds(
            memory=settings.query_memory(), spill=settings.query_spill(), result=settings.result_bytes(), spine=settings.spine_bytes()
        )
        await Worker(engine_app(FeatureStore(settings=settings)), bounds, reader, writer).run()
    # A normal exit would wait for threads that still run.
    os._exit(0)


class Worker:
    """Receives the messages of the web process and passes them to the current request."""

    def __init__(self, app: ASGIApp, bounds: Bounds, reader: StreamReader, writer: StreamWriter) -> None:
        self._app, self._bounds, self._reader, self._writer = app, bounds, reader, writer

    async def run(self) -> None:
        """Serve requests until the web process is gone. It sends a request only after the previous one is over."""
        current, work = None, None
        while (message := await receive(self._reader)) is not None:
            if isinstance(message, Ask):
                send(self._writer, Taken())
                current = RequestRun(Watch(self._bounds), self._writer)
                work = asyncio.create_task(current.answer(self._app, message))
            elif current is not None and work is not None and not work.done():
                current.take(message)


class RequestRun:
    """One request: connects the application with the messages of the web process."""

    def __init__(self, watch: Watch, writer: StreamWriter) -> None:
        self._watch, self._writer = watch, writer
        self._parts: asyncio.Queue[Part] = asyncio.Queue()
        self._stopped = asyncio.Event()
        self._body_complete = False
        self._stopping: asyncio.Task[None] | None = None

    async def answer(self, app: ASGIApp, ask: Ask) -> None:
        """Let the application respond to the request."""
        failed = False
        try:
            with use_watch(self._watch):
                await app(_scope(ask), self._receive, self._send)
        except Exception:  # noqa: BLE001 - the application has logged the error and broken off its response
            failed = True
        finally:
            if self._stopping is not None:
                self._stopping.cancel()
        await self._reply(Over(failed))

    def take(self, message: Message) -> None:
        """Handle a message for this request: the next part of its body, or a stop."""
        if isinstance(message, Part):
            self._parts.put_nowait(message)
        elif isinstance(message, Stop) and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(Timeout(message.message, **message.details)))

    async def _stop(self, error: Timeout) -> None:
        self._stopped.set()
        while True:
            self._watch.stop(error)
            await asyncio.sleep(INTERRUPT_INTERVAL)

    async def _receive(self) -> Event:
        if self._body_complete:
            await self._stopped.wait()
            return {"type": "http.disconnect"}
        await self._reply(More())
        part = await self._parts.get()
        self._body_complete = not part.more
        return {"type": "http.request", "body": part.content, "more_body": part.more}

    async def _send(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            await self._reply(Start(event["status"], list(event["headers"])))
            return
        body, more = memoryview(event.get("body", b"")), event.get("more_body", False)
        for begin in range(0, max(1, len(body)), PART_BYTES):
            end = begin + PART_BYTES
            await self._reply(Part(bytes(body[begin:end]), more or end < len(body)))

    async def _reply(self, message: Message) -> None:
        send(self._writer, message)
        await self._writer.drain()


def _scope(ask: Ask) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": ask.method,
        "path": ask.path,
        "raw_path": ask.raw_path,
        "query_string": ask.query,
        "root_path": "",
        "headers": ask.headers,
        "client": None,
        "server": None,
        "state": {PRINCIPAL: Principal.from_dict(ask.principal)},
    }
