"""Predictions run the code of a user's model, which nothing can stop: in places and threads of their own, and for so long only."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from starlette.requests import Request

from featurestore.engine.watch import Watch, use_watch
from featurestore.errors import Timeout
from featurestore.server.bounds import Pool, wait_for
from featurestore.settings import Settings

Result = TypeVar("Result")
Work = tuple[asyncio.AbstractEventLoop, Context, Callable[[], Any], "asyncio.Future[Any]"]


class Workers:
    """Threads, each begun when it is needed and used again, that keep no process from ending: what they run may never end."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Work | None]] = []

    def start(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Run the function beside the event loop, in the context of whoever calls."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        # The last one first: it has the model's libraries at hand.
        inbox = self._idle.pop() if self._idle else self._begun()
        inbox.put((loop, copy_context(), function, done))
        return done

    def close(self) -> None:
        """Let threads go that have nothing to do."""
        while self._idle:
            self._idle.pop().put(None)

    def _begun(self) -> "SimpleQueue[Work | None]":
        inbox: SimpleQueue[Work | None] = SimpleQueue()
        threading.Thread(target=self._work, args=(inbox,), name="predictions", daemon=True).start()
        return inbox

    def _work(self, inbox: "SimpleQueue[Work | None]") -> None:
        while (work := inbox.get()) is not None:
            loop, context, function, done = work
            result: Any = None
            error: Exception | None = None
            try:
                result = context.run(function)
            except Exception as raised:  # noqa: BLE001 - whatever a model raises is for whoever waits
                error = raised
            except BaseException as raised:  # noqa: BLE001 - a model that calls exit() ends no server
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
            try:
                loop.call_soon_threadsafe(self._ended, inbox, done, result, error)
            except RuntimeError:
                # The server has ended.
                return
            del work, function, context, done, result, error

    def _ended(self, inbox: "SimpleQueue[Work | None]", done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        self._idle.append(inbox)
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


class Predictions:
    """Room for some predictions at once, a queue that has an end, and a deadline. One that does not end keeps its place until it does."""

    def __init__(self, settings: Settings) -> None:
        self._pool = Pool(settings.predict_workers, settings.predict_queue, settings.predict_seconds, "predict_seconds")
        self._workers = Workers()

    async def run(self, request: Request, model: str, function: Callable[[], Result]) -> Result:
        """The result of the function. Raises: Busy; Timeout when it took too long, or the client left."""
        place = object()
        await self._pool.enter(place)
        watch = Watch()
        with use_watch(watch):
            work = self._workers.start(function)
        work.add_done_callback(lambda _: self._pool.leave(place))
        return await wait_for(request, watch, work, self._pool.seconds, self._late(model))

    def close(self) -> None:
        """Let go of what is idle."""
        self._workers.close()

    def _late(self, model: str) -> Timeout:
        seconds = self._pool.seconds
        return Timeout(
            f"model {model} took longer than {seconds:g} s, which is the most that a prediction may take: nobody waits for it any more, and"
            " it keeps its place until it ends; send fewer rows at once, or raise predict_seconds",
            model=model,
            seconds=seconds,
        )
