"""Work for requests: so much at once, with a deadline, and none for a client that has left."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from starlette.requests import Request

from featurestore.engine.watch import INTERRUPT_INTERVAL, Watch, use_watch
from featurestore.errors import Busy, Timeout
from featurestore.settings import Settings

Result = TypeVar("Result")

GRACE_SECONDS = 2.0
"""How long stopped work may take to end before its request is answered without it."""
LOOKUPS_AT_ONCE = 16
LOOK_SECONDS = 0.5
"""Lookups that take longer are looked after: by then looking costs little."""


def client_left() -> Timeout:
    """The error of work that nobody waits for any more."""
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
            watch.stop(client_left())
        elif watch.error is None and loop.time() >= until:
            watch.stop(late)
        elif watch.error is not None:
            watch.stop(watch.error)
        stopped = stopped or (loop.time() if watch.error is not None else 0.0)
        if stopped and loop.time() >= stopped + GRACE_SECONDS:
            given_up.set()
        await asyncio.wait({work}, timeout=INTERRUPT_INTERVAL)
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
        with use_watch(watch):
            work = asyncio.create_task(anyio.to_thread.run_sync(function, limiter=self._limiter))
        return await wait_for(request, watch, work, self._seconds, _deadline(self._seconds, "query_seconds"))
