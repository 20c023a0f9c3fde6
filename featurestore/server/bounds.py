"""Requests that make the engine work: so many at once, each with a deadline, and none for a client that has left."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.engine.watch import AGAIN_SECONDS, Bounds, Watch, watched
from featurestore.errors import Busy, FeatureStoreError, Timeout
from featurestore.server.documents import document_of
from featurestore.server.errors import response, status_of
from featurestore.settings import Settings

Result = TypeVar("Result")

GRACE_SECONDS = 2.0
"""How long stopped work may take to end before its request is answered without it."""
TAKING_SECONDS = 600.0
"""How long a client may take to fetch an answer."""
LOOKUPS_AT_ONCE = 16
LOOK_SECONDS = 0.5
"""Lookups that take longer are looked after: by then looking costs little."""

_POOLS = re.compile(
    r"(?P<long>POST /v1/(?:training-sets/.+/rebuild|maintenance))"
    r"|(?P<heavy>POST /v1/(?:plan|apply|training-sets|point-in-time|tables.*|sources.*)|PUT /v1/tables.*|DELETE /v1/(?:views|services)/.+"
    r"|GET /v1/(?:comparisons|training-sets/[^/]+/statistics))"
)


def _left() -> Timeout:
    return Timeout("the client left before the work was done", left=True)


def _deadline(seconds: float, setting: str) -> Timeout:
    return Timeout(
        f"stopped after {seconds:g} s, which is the most that this may take; ask for less at once, or raise {setting}", seconds=seconds
    )


@dataclass
class Pool:
    """Room for some requests at once. More wait, in a queue that has an end."""

    at_once: int
    queue: int
    seconds: float
    setting: str
    limiter: CapacityLimiter = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.limiter = CapacityLimiter(self.at_once)

    def deadline(self) -> Timeout:
        """The error of work that took too long."""
        return _deadline(self.seconds, self.setting)

    async def enter(self, borrower: object) -> None:
        """Wait for room. Raises: Busy when too many wait already, or room does not come in time."""
        if self.limiter.available_tokens <= 0 and self.waiting >= self.queue:
            raise Busy(f"the server works on {self.at_once} such requests, and {self.queue} more wait; try again later")
        self.waiting += 1
        try:
            with anyio.fail_after(self.seconds):
                await self.limiter.acquire_on_behalf_of(borrower)
        except TimeoutError as error:
            raise Busy(f"the server had no room for this request in {self.seconds:g} s; try again later") from error
        finally:
            self.waiting -= 1

    def leave(self, borrower: object) -> None:
        """Make room for another one."""
        self.limiter.release_on_behalf_of(borrower)


class Bounded:
    """Middleware that gives requests room, a deadline, and an end when their client leaves.

    A request takes room when its body is there, so that one that is sent slowly keeps nobody waiting. Work that does not end when it
    is stopped is answered for; it keeps its room until it ends.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._bounds = Bounds(
            memory=settings.query_memory(), spill=settings.query_spill_limit, result=settings.result_bytes(), spine=settings.spine_bytes()
        )
        self._heavy = Pool(settings.query_workers, settings.query_queue, settings.query_seconds, "query_seconds")
        self._long = Pool(1, settings.query_queue, settings.job_seconds, "job_seconds")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pool = self._pool(scope)
        if pool is None:
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, pool, Watch(self._bounds), scope, receive, send).run()

    def _pool(self, scope: Scope) -> Pool | None:
        if scope["type"] != "http":
            return None
        found = _POOLS.fullmatch(f"{scope['method']} {scope['path']}")
        return None if found is None else self._long if found.lastgroup == "long" else self._heavy


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: ASGIApp, pool: Pool, watch: Watch, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._pool, self._watch, self._scope, self._receive, self._send = app, pool, watch, scope, receive, send
        self._body_over, self._entered, self._left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._answering = self._answered = False
        self._refusal: Busy | None = None

    async def run(self) -> None:
        """Let the application answer, until the deadline or until the client leaves."""
        with watched(self._watch):
            work = asyncio.create_task(self._work())
        looking = asyncio.create_task(self._look(work))
        try:
            # Work that was stopped is given up here, but not ended: it keeps its room.
            await asyncio.wait({work, looking}, return_when=asyncio.FIRST_COMPLETED)
            if self._refusal is not None:
                await self._tell(self._refusal, {"Retry-After": "5"})
            elif work.done():
                work.result()
            elif not self._left.is_set() and not self._answering:
                await self._tell(self._pool.deadline(), {})
        except asyncio.CancelledError:
            self._watch.stop(_left())
            work.cancel()
            raise
        finally:
            looking.cancel()
            if not work.done():
                _keep(asyncio.create_task(self._stop(work)))

    async def _tell(self, error: FeatureStoreError, headers: dict[str, str]) -> None:
        self._answered = True
        await response(status_of(error), document_of(error), headers)(self._scope, self._receive, self._send)

    async def _work(self) -> None:
        try:
            if self._scope["method"] in ("GET", "DELETE"):
                self._body_over.set()
                await self._enter()
            await self._app(self._scope, self._received, self._sent)
        except Exception:
            # An application that is refused what it reads may fail at it in ways of its own.
            if self._refusal is None:
                raise
        finally:
            if self._entered.is_set():
                self._pool.leave(self)

    async def _enter(self) -> None:
        try:
            await self._pool.enter(self)
        except Busy as error:
            self._refusal = error
            raise
        self._entered.set()

    async def _received(self) -> Message:
        if self._body_over.is_set():
            await self._left.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._body_over.set()
            await self._enter()
        return message

    async def _sent(self, message: Message) -> None:
        if self._refusal is not None:
            return
        self._answering = True
        if not self._answered and not self._left.is_set():
            await self._send(message)

    async def _look(self, work: "asyncio.Task[None]") -> None:
        """Stop the work when it has to end. Returns when an answer is due though the work has not ended."""
        await self._body_over.wait()
        gone, entered = asyncio.create_task(self._gone()), asyncio.create_task(self._entered.wait())
        try:
            await asyncio.wait({gone, entered}, return_when=asyncio.FIRST_COMPLETED)
            if not self._entered.is_set():
                work.cancel()
                return
            await asyncio.wait({gone, work}, timeout=self._pool.seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._answering and not gone.done():
                await asyncio.wait({gone, work}, timeout=TAKING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            error = _left() if gone.done() else self._pool.deadline()
            for _ in range(int(GRACE_SECONDS / AGAIN_SECONDS)):
                if work.done():
                    return
                self._watch.stop(error)
                await asyncio.wait({work}, timeout=AGAIN_SECONDS)
        finally:
            gone.cancel()
            entered.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()

    async def _stop(self, work: "asyncio.Task[None]") -> None:
        while not work.done():
            self._watch.stop(_left())
            await asyncio.wait({work}, timeout=AGAIN_SECONDS)
        # Nobody waits for it; what it raised is what it was stopped with.
        if not work.cancelled():
            work.exception()


_BACKGROUND: set["asyncio.Task[None]"] = set()


def _keep(task: "asyncio.Task[None]") -> None:
    """Hold a task that nobody waits for: the loop alone would let it go."""
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)


async def wait_for(request: Request, watch: Watch, work: "asyncio.Future[Result]", seconds: float, late: Timeout) -> Result:
    """The result of work that runs under a watch. Raises: `late` when it took longer than `seconds`; Timeout when the client left.

    Work that does not end when it is stopped goes on without anybody who waits for it.
    """
    loop, given_up = asyncio.get_running_loop(), asyncio.Event()
    looks = min(LOOK_SECONDS, seconds)
    looking = loop.call_later(
        looks, lambda: _keep(loop.create_task(_look(request, watch, work, loop.time() + seconds - looks, late, given_up)))
    )
    waiting = loop.create_task(given_up.wait())
    try:
        both: set[asyncio.Future[Any]] = {work, waiting}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            watch.check()
        return await work
    finally:
        looking.cancel()
        waiting.cancel()


async def _look(
    request: Request, watch: Watch, work: "asyncio.Future[Result]", until: float, late: Timeout, given_up: asyncio.Event
) -> None:
    """Stop the work at its deadline, or when its client left, and give it up where that does not end it soon."""
    loop, stopped = asyncio.get_running_loop(), 0.0
    while not work.done():
        if watch.error is None and await request.is_disconnected():
            watch.stop(_left())
        elif watch.error is None and loop.time() >= until:
            watch.stop(late)
        elif watch.error is not None:
            watch.stop(watch.error)
        stopped = stopped or (loop.time() if watch.error is not None else 0.0)
        if stopped and loop.time() >= stopped + GRACE_SECONDS:
            given_up.set()
        await asyncio.wait({work}, timeout=AGAIN_SECONDS)
    if given_up.is_set() and not work.cancelled():
        # Nobody waits for it any more.
        work.exception()


class Lookups:
    """Threads for lookups that do not belong into the event loop, with a deadline."""

    def __init__(self, settings: Settings) -> None:
        self._limiter, self._seconds = CapacityLimiter(LOOKUPS_AT_ONCE), settings.query_seconds

    async def run(self, request: Request, function: Callable[[], Result]) -> Result:
        """The result of the function. Raises: Timeout when it took too long, or the client left; a thread that does not end goes on."""
        watch = Watch()
        with watched(watch):
            work = asyncio.create_task(anyio.to_thread.run_sync(function, limiter=self._limiter))
        return await wait_for(request, watch, work, self._seconds, _deadline(self._seconds, "query_seconds"))
