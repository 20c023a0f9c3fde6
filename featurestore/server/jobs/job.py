"""A job is work that outlives a request: what it is, where it stands, and what came of it."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Job:
    """One job as recorded. `runs` counts how often it was begun; `error` has `type`, `message` and `details`."""

    id: str
    kind: str
    state: State
    created_at: str
    runs: int = 0
    progress: dict[str, Any] | None = None
    result: Any = None
    error: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether it is still to be waited for."""
        return self.state in ("queued", "running")
