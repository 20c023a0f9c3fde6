"""Recognize a process from another one: whether it has ended, even if its number belongs to another process now."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_START_TIME = 19
"""The position of a process's start time in /proc/PID/stat, counted after the name, which may contain anything."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: its host's name and its number for people, its machine's boot and its start time to recognize it.

    `boot` is None where the system does not tell, as on macOS; `started` likewise.
    """

    host: str
    pid: int
    boot: str | None
    started: str | None

    def has_ended(self) -> bool:
        """Whether the process has certainly ended: False for those of other machines, containers or boots."""
        if self.boot is None or self.boot != _boot():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        started = _start_time(self.pid)
        return None not in (started, self.started) and started != self.started


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    pid = os.getpid()
    return ProcessIdentity(socket.gethostname(), pid, _boot(), _start_time(pid))


@cache
def _boot() -> str | None:
    """What processes share that see one another's numbers: the boot of the machine, and the namespace of numbers in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _start_time(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TIME]
    except (OSError, IndexError):
        return None
