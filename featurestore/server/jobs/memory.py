"""Limits on a process's memory, what it uses, and the errors of jobs that run out of it."""

import resource
from pathlib import Path

from featurestore.errors import OutOfResources

SHORTAGES = ("bad allocation", "bad_alloc", "can't start new thread", "Cannot allocate memory")
"""Texts by which the libraries below report that an allocation failed."""


def limit_subprocess(max_bytes: int) -> None:
    """Limit this process's data memory, and make the system kill it before the server when the machine runs out."""
    limit(max_bytes)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def limit(max_bytes: int) -> None:
    """Limit this process's data memory. An allocation beyond the limit fails, and the process continues.

    Data memory is private and writable, whether the process has touched it or not (RLIMIT_DATA). Only Linux enforces the limit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard), hard))


def lift_limit() -> None:
    """Remove the limit, so that there is memory left to report that it ran out."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def data_bytes(pid: int | None) -> int:
    """The data memory that a process has now, as its limit counts it; 0 if the process is gone or the system does not report it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is a failed allocation."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in SHORTAGES):
            return True
        error = error.__cause__ or error.__context__
    return False


def shortage_error(max_bytes: int) -> OutOfResources:
    """The error of a job that needed more memory than its limit."""
    return OutOfResources(
        f"the job needs more memory than the {max_bytes >> 20} MiB that its process may use; lower memory_limit, so that more is spilled,"
        " or raise job_memory_limit"
    )


def crash_error(exit_status: str, max_bytes: int, peak: int) -> OutOfResources:
    """The error of a job whose process crashed. `peak` is sampled, so that it seldom shows the moment of the crash."""
    return OutOfResources(
        f"the process of the job crashed ({exit_status}), as libraries do when an allocation fails: its limit is {max_bytes >> 20} MiB, and"
        f" the most that was measured is {peak >> 20} MiB. Lower memory_limit, so that more is spilled, or raise job_memory_limit;"
        " if it had enough memory, see the server's log"
    )


def kill_error(peak: int) -> OutOfResources:
    """The error of a job whose process was killed from outside."""
    return OutOfResources(
        f"the process of the job was killed, as the system does when memory runs out; the most that was measured is {peak >> 20} MiB. Lower"
        " memory_limit, so that more is spilled"
    )
