"""Which failures of a request are worth another attempt, and after how many seconds."""

import random
import time
from dataclasses import dataclass

import httpx

from featurestore.errors import RequestError, brief

FIRST_SECONDS = 0.1
"""About how long the second attempt waits; each later one twice as long."""
UNSENT = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
"""What httpx raises when a connection cannot be opened, or ends before the answer begins, as old ones of a restarted server do."""


@dataclass(frozen=True)
class Retries:
    """Up to `most` more attempts at a request that changes nothing."""

    most: int

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 0:
            raise RequestError(f"retries={brief(self.most)} is not a number of attempts from 0 up", field="retries")

    def attempts(self, safe: bool, seconds: float) -> "Attempts":
        """The attempts at one request, all within so many seconds; one that is not `safe` has a single attempt."""
        return Attempts(self.most if safe else 0, time.monotonic() + seconds)


@dataclass
class Attempts:
    """The attempts at one request: `left` after the current one, until the `deadline` of the monotonic clock."""

    left: int
    deadline: float
    made: int = 0

    def delay(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next attempt after this outcome; None if there is none, or no time left for it.

        A response is retried if it is a 503 that says when to try again (Retry-After); time-outs are not.
        """
        if self.left <= 0:
            return None
        if isinstance(outcome, httpx.Response):
            after = outcome.headers.get("retry-after", "") if outcome.status_code == 503 else ""
            seconds = float(after) if after.isascii() and after.isdigit() else None
        else:
            seconds = FIRST_SECONDS * 2**self.made * random.uniform(0.5, 1.5) if isinstance(outcome, UNSENT) else None
        if seconds is None or time.monotonic() + seconds >= self.deadline:
            return None
        self.left -= 1
        self.made += 1
        return seconds


def final(outcome: httpx.Response | httpx.TransportError) -> httpx.Response:
    """The outcome of the last attempt. Raises: the error, if it is one."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    return outcome
