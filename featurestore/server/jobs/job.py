"""A job: work that runs beyond its request, with its state and its result."""

from dataclasses import dataclass
from typing import Any, Literal

FILLING = "filling"
"""The kind, and the id, of the job that fills what the online store has lost."""

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """The record of a job. `runs` is the number of times it was started; `error` has `type`, `message` and `details`; `by` is the name of
    whoever asked for it, None for the server itself.
    """

    id: str
    kind: str
    state: State
    created_at: str
    runs: int = 0
    progress: dict[str, Any] | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    by: str | None = None

    @property
    def live(self) -> bool:
        """Whether it is queued or running."""
        return self.state in ("queued", "running")
