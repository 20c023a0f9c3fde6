"""Run predictions in their own limited pool of threads, with a deadline: the code of a user's model cannot be interrupted."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from starlette.requests import Request

from featurestore.engine.watch import Watch, use_watch
from featurestore.errors import ModelError, Timeout, message_of
from featurestore.server.bounds import Pool, wait_for
from featurestore.settings import Settings

Result = TypeVar("Result")
Task = tuple[asyncio.AbstractEventLoop, Context, Callable[[], Any], "asyncio.Future[Any]"]


class Threads:
    """Reusable daemon threads, started on demand. Unlike those of an executor, they do not keep the process from exiting."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Task | None]] = []

    def start(self, function: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Run the function in a thread, with a copy of the caller's context variables."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        # The last used thread first: its caches are warm.
        inbox = self._idle.pop() if self._idle else self._start_thread()
        inbox.put((loop, copy_context(), function, done))
        return done

    def close(self) -> None:
        """End the idle threads."""
        while self._idle:
            self._idle.pop().put(None)

    def _start_thread(self) -> "SimpleQueue[Task | None]":
        inbox: SimpleQueue[Task | None] = SimpleQueue()
        threading.Thread(target=self._run_tasks, args=(inbox,), name="predictions", daemon=True).start()
        return inbox

    def _run_tasks(self, inbox: "SimpleQueue[Task | None]") -> None:
        while (task := inbox.get()) is not None:
            loop, context, function, done = task
            result: Any = None
            error: Exception | None = None
            try:
                result = context.run(function)
            except Exception as raised:  # noqa: BLE001 - a model may raise anything; its caller gets it
                # A future refuses a StopIteration.
                error = _model_error(raised) if isinstance(raised, StopIteration) else raised
            except BaseException as raised:  # noqa: BLE001 - a model that calls exit() must not end the server
                error = _model_error(raised)
            try:
                loop.call_soon_threadsafe(self._finish, inbox, done, result, error)
            except RuntimeError:
                # The event loop is closed: the server has ended.
                return
            del task, function, context, done, result, error

    def _finish(self, inbox: "SimpleQueue[Task | None]", done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        self._idle.append(inbox)
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


def _model_error(raised: BaseException) -> ModelError:
    """The error of a model that raised what would end a thread, or is not an error at all, such as KeyboardInterrupt."""
    name = type(raised).__name__
    error = ModelError(f"the model raised {name}, which no model should raise", reason=f"{name}: {message_of(raised)}")
    error.__cause__ = raised
    return error


class Predictions:
    """Runs predictions: a limited number at once, a limited queue, and a deadline.

    A prediction that is past its deadline keeps its slot until it ends, because its thread cannot be stopped.
    """

    def __init__(self, settings: Settings, at_once: int | None = None) -> None:
        """`at_once` None: as many as the setting `predict_workers`."""
        self._pool = Pool(at_once or settings.predict_workers, settings.predict_queue, settings.predict_seconds, "predict_seconds")
        self._threads = Threads()

    async def run(self, request: Request, model: str, function: Callable[[], Result]) -> Result:
        """Run the function and return its result. Raises: Busy; Timeout at the deadline, or if the client left."""
        slot = object()
        await self._pool.enter(slot)
        watch = Watch()
        with use_watch(watch):
            task = self._threads.start(function)
        task.add_done_callback(lambda _: self._pool.leave(slot))
        return await wait_for(request, watch, task, self._pool.seconds, partial(self._timeout_error, model))

    def close(self) -> None:
        """End the idle threads."""
        self._threads.close()

    def _timeout_error(self, model: str) -> Timeout:
        seconds = self._pool.seconds
        return Timeout(
            f"model {model} took longer than {seconds:g} s, the limit of predict_seconds; its result is discarded, and it occupies a slot"
            " until it ends. Send fewer rows at once, or raise predict_seconds",
            model=model,
            seconds=seconds,
        )
