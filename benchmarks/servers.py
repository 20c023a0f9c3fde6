"""Servers in processes of their own, and the processor time that they use."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple


class Running(NamedTuple):
    """A server: its address, and the id of the process that answers."""

    url: str
    pid: int

    def processor_seconds(self) -> float:
        """The processor time of all threads of the process so far, from Linux's scheduler: its nanoseconds, not ticks."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in threads) / 1e9


@contextmanager
def running(serve: Callable[..., None], *arguments: Any) -> Iterator[Running]:
    """Run `serve(*arguments, announce)` in a process until the end of the block; it calls `announce` with its address."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(*arguments, sender.send))
    process.start()
    try:
        yield Running(receiver.recv(), process.pid or 0)
    finally:
        process.terminate()
        process.join()
