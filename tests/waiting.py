"""Waiting for what other threads and processes do, with rests, in which they have the processor."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

REST_SECONDS = 0.02


def rest() -> None:
    """Leave the processor to others for a moment."""
    threading.Event().wait(REST_SECONDS)


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Look again and again until it holds; a failure after so many seconds, which are many, since the machine may be busy."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        rest()


def rounds_until_done(requests: Iterable["Future[Any]"]) -> Iterator[int]:
    """The numbers of rounds, from 1 on, for as long as a request is not answered; there is a rest after each round."""
    waiting, number = list(requests), 0
    while not all(request.done() for request in waiting):
        number += 1
        yield number
        rest()
