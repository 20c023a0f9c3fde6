"""A work in a fresh process: how long it takes, by the clock and of processors, the most memory it holds, and the bytes it reads."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import seconds


@dataclass(frozen=True)
class Cost:
    """`peak` is the resident memory of the whole process, in GB; `read` the bytes that it asked files for, 0 where nothing tells."""

    seconds: float
    processors: float
    peak: float
    read: int


def alone(work: Callable[[], object], before: Callable[[], object] | None = None) -> Cost:
    """The cost of a fresh process that does the work; what it imports, or does `before`, is neither timed nor counted as read."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, before, there))
    process.start()
    there.close()
    found: Cost = here.recv()
    process.join()
    return found


def _measured(work: Callable[[], object], before: Callable[[], object] | None, result: Any) -> None:
    if before is not None:
        before()
    read, processors = _read(), time.process_time()
    took = seconds(work)
    result.send(Cost(took, time.process_time() - processors, _peak(), _read() - read))


def _peak() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # What a process has by getrusage on Linux is at least what its parent held when it was made.
    return next(float(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")) / 1e6


def _read() -> int:
    counted = Path("/proc/self/io")
    return int(counted.read_text().split()[1]) if counted.exists() else 0
