"""The progress of the materialization of one view."""

import time
from collections.abc import Callable
from dataclasses import dataclass


class StopRun(Exception):
    """Raised by a progress callback to end a run early: views that are done are published, and the finished chunks of one are kept."""


@dataclass(frozen=True)
class ViewProgress:
    """Progress of the materialization of one view: `done` of `total` chunks, and the `rows` to append so far.

    `stage` is wait (another process has the view's lease), copy (from the origin of a source), read, compute, write, publish or done;
    `total` is 1 until the chunks are known. `seconds_left` estimates the time for the remaining chunks; None before the first is done.
    """

    view: str
    stage: str
    done: int
    total: int
    rows: int
    seconds_left: float | None = None


OnViewProgress = Callable[[ViewProgress], None]


class SpanProgress:
    """Shows the finished chunks or buckets of a span, and estimates the time for the others."""

    def __init__(self, view: str, report: OnViewProgress) -> None:
        self._view, self._report = view, report
        self._started, self._first = time.monotonic(), -1

    def show(self, done: int, total: int, rows: int) -> None:
        """Show that `done` of `total` are finished; the first call is before any of this run is."""
        if self._first < 0:
            self._first = done
        seconds_left = (time.monotonic() - self._started) / (done - self._first) * (total - done) if done > self._first else None
        self._report(ViewProgress(self._view, "compute" if done < total else "write", done, total, rows, seconds_left))
