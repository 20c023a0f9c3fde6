"""Waits until the disk has what was written: all that wait at the same time wait for one call."""

import asyncio
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread


class GroupSync:
    """Calls `sync` in a thread of its own for all that began to wait before the call."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._limiter: CapacityLimiter | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._running: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when what was written before is on the disk. Raises: what `sync` does."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await future

    async def _run(self) -> None:
        self._limiter = self._limiter or CapacityLimiter(1)
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                error: Exception | None = None
                try:
                    await to_thread.run_sync(self._sync, limiter=self._limiter)
                except Exception as failed:  # noqa: BLE001 - each of those who wait raises it
                    error = failed
                for future in group:
                    if future.done():
                        continue
                    if error is None:
                        future.set_result(None)
                    else:
                        future.set_exception(error)
        finally:
            self._running = None
