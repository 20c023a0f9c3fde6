"""Limits on the work of requests: how much runs at once, and until which deadline; it stops when its client leaves."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from starlette.requests import Request

from featurestore.engine.watch import INTERRUPT_INTERVAL, Watch, use_watch
from featurestore.errors import Busy, Timeout, TooLarge
from featurestore.settings import Settings

Result = TypeVar("Result")

GRACE_SECONDS = 2.0
"""How long stopped work may take to end before its request gets an error without waiting for it."""
FIRST_CHECK_SECONDS = 0.5
"""Work is first checked after this time, so that short lookups cost no check."""


def check_entities(count: int, limit: int, what: str = "entities") -> None:
    """Raises: TooLarge for a request of more entities, or of more records of a prediction, than `entities_limit`."""
    if count > limit:
        raise TooLarge(
            f"the request has {count} {what}, more than {limit}, the limit of entities_limit; send them in several requests",
            limit=limit,
        )


def client_left() -> Timeout:
    """The error of work whose client has disconnected."""
    return Timeout("the client left before the work was done", left=True)


def _timeout_error(seconds: float, setting: str) -> Timeout:
    return Timeout(f"stopped after {seconds:g} s, the limit of {setting}; request less data at once, or raise {setting}", seconds=seconds)


@dataclass
class Pool:
    """Slots for a limited number of concurrent requests, and a limited queue of those that wait."""

    at_once: int
    queue: int
    seconds: float
    setting: str
    limiter: CapacityLimiter = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.limiter = CapacityLimiter(self.at_once)

    def timeout_error(self) -> Timeout:
        """The error of work that exceeds the deadline."""
        return _timeout_error(self.seconds, self.setting)

    async def enter(self, borrower: object) -> None:
        """Wait for a slot. Raises: Busy if the queue is full, or no slot is free within `seconds`."""
        try:
            # Without the deadline and the pause of waiting, which take as long as many models need for a row.
            self.limiter.acquire_on_behalf_of_nowait(borrower)
            return
        except anyio.WouldBlock:
            await self._wait(borrower)

    async def _wait(self, borrower: object) -> None:
        if self.waiting >= self.queue:
            raise Busy(
                f"the server runs {self.at_once} such requests already, and {self.queue} more wait; try again later",
                running=self.at_once,
                waiting=self.queue,
            )
        self.waiting += 1
        try:
            with anyio.fail_after(self.seconds):
                await self.limiter.acquire_on_behalf_of(borrower)
        except TimeoutError as error:
            raise Busy(f"the server had no free slot for this request within {self.seconds:g} s; try again later") from error
        finally:
            self.waiting -= 1

    def leave(self, borrower: object) -> None:
        """Free the slot of this borrower."""
        self.limiter.release_on_behalf_of(borrower)


_BACKGROUND: set["asyncio.Task[None]"] = set()


def _keep_reference(task: "asyncio.Task[None]") -> None:
    """Keep a reference to a background task: the event loop itself has only a weak one."""
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)


async def wait_for(request: Request, watch: Watch, work: "asyncio.Future[Result]", seconds: float, late: Callable[[], Timeout]) -> Result:
    """Wait for work that runs under a watch, and return its result.

    Raises: the error of `late` after `seconds`; Timeout if the client left. Work that does not end when it is stopped continues in the
    background.
    """
    loop = asyncio.get_running_loop()
    # Completed by the work, or by the supervisor when it gives up.
    ended: asyncio.Future[None] = loop.create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    first_check = min(FIRST_CHECK_SECONDS, seconds)
    timer = loop.call_later(
        first_check,
        lambda: _keep_reference(loop.create_task(_supervise(request, watch, work, loop.time() + seconds - first_check, late, end))),
    )
    work.add_done_callback(end)
    try:
        await ended
        if not work.done():
            watch.check()
        return await work
    finally:
        timer.cancel()
        work.remove_done_callback(end)


async def _supervise(
    request: Request,
    watch: Watch,
    work: "asyncio.Future[Result]",
    deadline: float,
    late: Callable[[], Timeout],
    give_up: Callable[[object], None],
) -> None:
    """Stop the work at its deadline or when its client leaves, and call `give_up` if it does not end soon after."""
    loop, stopped, overdue = asyncio.get_running_loop(), 0.0, False
    while not work.done():
        if watch.error is None and await request.is_disconnected():
            watch.stop(client_left())
        elif watch.error is None and loop.time() >= deadline:
            watch.stop(late())
        elif watch.error is not None:
            watch.stop(watch.error)
        stopped = stopped or (loop.time() if watch.error is not None else 0.0)
        overdue = stopped > 0 and loop.time() >= stopped + GRACE_SECONDS
        if overdue:
            give_up(work)
        await asyncio.wait({work}, timeout=INTERRUPT_INTERVAL)
    if overdue and not work.cancelled():
        # Retrieve the error, which asyncio would otherwise log as never retrieved.
        work.exception()


class Threads:
    """Runs functions that would block the event loop in threads: a limited number at once, a limited queue, and a deadline."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._threads = CapacityLimiter(pool.at_once)

    async def run(self, request: Request, function: Callable[[], Result]) -> Result:
        """Run the function in a thread and return its result.

        Raises: Busy; Timeout at the deadline, or if the client left. The thread then runs, and keeps its slot, until the function ends.
        """
        slot, watch = object(), Watch()
        await self._pool.enter(slot)
        with use_watch(watch):
            work = asyncio.create_task(anyio.to_thread.run_sync(function, limiter=self._threads))
        work.add_done_callback(lambda _: self._pool.leave(slot))
        return await wait_for(request, watch, work, self._pool.seconds, self._pool.timeout_error)


class Lookups(Threads):
    """Runs lookups that would block the event loop."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(Pool(settings.lookup_workers, settings.lookup_queue, settings.query_seconds, "query_seconds"))
