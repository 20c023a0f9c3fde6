"""The processor time of a process with all processes that it started, such as workers of a cluster."""

import os
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Of this process, its living descendants, and those that have ended and were waited for."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for pid, parent, used in _processes():
        children.setdefault(parent, []).append(pid)
        seconds[pid] = used
    total, left = 0.0, [os.getpid()]
    while left:
        pid = left.pop()
        total += seconds[pid]
        left += children.get(pid, [])
    return total


def _processes() -> Iterator[tuple[int, int, float]]:
    """The id of each process, that of its parent, and the seconds that it and its ended children used."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text()
        except (FileNotFoundError, ProcessLookupError):
            # It ended meanwhile.
            continue
        # The name of the program, in parentheses, may have spaces.
        fields = text.rpartition(")")[2].split()
        yield int(file.parent.name), int(fields[1]), sum(int(field) for field in fields[11:15]) / TICKS
