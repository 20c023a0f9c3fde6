"""When each view is due: at the points of its own grid, and later after an error. Nothing is stored: the watermarks say what was done."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from featurestore.dsl.durations import microseconds
from featurestore.records.listings import ViewInfo
from featurestore.values import times

FIRST_PAUSE_SECONDS = 1.0
"""How long a view pauses after an error, or while another process computes it; twice as long each time, up to LONGEST_PAUSE_SECONDS."""
LONGEST_PAUSE_SECONDS = 300.0
_SECOND = 1_000_000


def last_grid_point(step: int, now: int) -> int:
    """The last multiple of `step` at or before `now`; all in microseconds."""
    return now // step * step


@dataclass
class _Pause:
    """The time before which a view is not tried again, and the number of attempts in a row after which it is not done."""

    until: int = 0
    attempts: int = 0


@dataclass
class GridSchedule:
    """What is due, by the time and by the watermarks; times are microseconds since the epoch. `step` is that of views without a grid."""

    step: int
    _pauses: dict[str, _Pause] = field(default_factory=dict)

    def due(self, views: Iterable[ViewInfo], now: int) -> list[str]:
        """The views whose watermark lies before the last point of their grid, however long ago that was, unless they pause."""
        return [view.name for view in views if self._is_behind(view, now) and now >= self._pause(view.name).until]

    def next(self, views: Iterable[ViewInfo], now: int) -> dict[str, int]:
        """When each view is due next: `now` if it is."""
        found = {}
        for view in views:
            step = self._step(view)
            behind = max(now, self._pause(view.name).until)
            found[view.name] = behind if self._is_behind(view, now) else last_grid_point(step, now) + step
        return found

    def done(self, view: str) -> None:
        """A view was brought up to date."""
        self._pauses.pop(view, None)

    def pause(self, view: str, now: int) -> float:
        """Let a view pause, longer each time in a row. Returns for how many seconds."""
        known = self._pauses.setdefault(view, _Pause())
        seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**known.attempts) * random.uniform(0.5, 1.0)
        known.attempts = min(known.attempts + 1, 30)
        known.until = now + int(seconds * _SECOND)
        return float(seconds)

    def _pause(self, view: str) -> _Pause:
        return self._pauses.get(view, _Pause())

    def _step(self, view: ViewInfo) -> int:
        return self.step if view.every is None else microseconds(view.every)

    def _is_behind(self, view: ViewInfo, now: int) -> bool:
        """Tables that are written by key are nobody's to compute."""
        if view.kind == "written":
            return False
        through = None if view.materialized_through is None else times.micros(view.materialized_through)
        return through is None or through < last_grid_point(self._step(view), now)
