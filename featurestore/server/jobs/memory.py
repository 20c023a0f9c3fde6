"""What a process may have of memory: the bound, how much it has, and the error of a job that needs more."""

import resource
from pathlib import Path

from featurestore.errors import OutOfResources

SHORTAGES = ("bad allocation", "bad_alloc", "can't start new thread", "Cannot allocate memory")
"""How the libraries below say that the system gave them no memory."""


def bound(most: int) -> None:
    """Let this process have so many bytes of data, and let the system end it rather than the server when the machine has no more."""
    limit(most)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def limit(most: int) -> None:
    """Refuse this process more than so many bytes of data: what asks for more fails, and the process goes on.

    Data is what the process may write and shares with no file, whether it has touched it or not. Only Linux keeps to the bound.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def unbound() -> None:
    """Take the bound away: to write down that memory ran out takes some."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def data(pid: int | None) -> int:
    """The bytes of data that a process has at this moment, as its bound counts them; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


def is_shortage(error: BaseException | None) -> bool:
    """Whether an error comes from an allocation that the system refused."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in SHORTAGES):
            return True
        error = error.__cause__ or error.__context__
    return False


def shortage(most: int) -> OutOfResources:
    """The error of a job that needed more than its bound."""
    return OutOfResources(
        f"the job needs more memory than the {most >> 20} MiB that its process may have; lower memory_limit, so that more is spilled,"
        " or raise job_memory_limit"
    )


def broken(how: str, most: int, seen: int) -> OutOfResources:
    """The error of a job that broke down within its bound. What it had is seen now and then: its last moment seldom."""
    return OutOfResources(
        f"the process of the job broke down ({how}), as libraries do that get no memory: it may have {most >> 20} MiB, and was seen with"
        f" {seen >> 20}. Lower memory_limit, so that more is spilled, or raise job_memory_limit; had it room, the server's log says more"
    )


def killed(seen: int) -> OutOfResources:
    """The error of a job that was killed from outside, with so many bytes of data."""
    return OutOfResources(
        f"the process of the job was killed, as the system does where memory runs out; it had {seen >> 20} MiB. Lower memory_limit, so"
        " that more is spilled"
    )
