"""`materialize --watch`: run each view at the points of its own grid, until the process is told to end."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore import private
from featurestore.cli.grid_schedule import GridSchedule
from featurestore.errors import FeatureStoreError, LeaseHeld
from featurestore.pipelines.materialization.materialize import StopRun
from featurestore.records.listings import ViewInfo
from featurestore.values import json_encoding, times

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import ViewProgress
    from featurestore.store_protocol import Store

LOOK_SECONDS = 5.0
"""The longest time between two looks at the views: new ones are found, and the health file shows that the process lives."""
OnEvent = Callable[[Mapping[str, Any]], None]
"""Takes what happened, JSON-ready: its `event`, `at`, and what belongs to it."""


class Watch:
    """Brings views up to date at each point of their grids. Views that are due at once are one run, which is published together.

    A view that another process computes, or that fails, pauses for seconds, and longer each time; all others go on.
    """

    def __init__(self, store: "Store", names: Sequence[str], step: timedelta, on_event: OnEvent, health: Path | None = None) -> None:
        """`names`: the views, all without any; `step`: that of views without a grid; `health`: the file to write after each look."""
        self._store, self._names, self._on_event, self._health = store, frozenset(names), on_event, health
        self._schedule = GridSchedule(step // timedelta(microseconds=1))
        self._ended = threading.Event()
        self._states: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()

    def end(self) -> None:
        """End after the commit that is being made, or at once if none is. May be called from a signal handler."""
        self._ended.set()

    def run(self) -> None:
        """Work until `end`. Raises: NotFound if a view that was named does not exist at the start."""
        for name in self._names:
            self._store.view(name)
        while not self._ended.is_set():
            self._ended.wait(self._look())
        self._tell("stopped")

    def _look(self) -> float:
        """Run what is due. Returns for how many seconds nothing is."""
        try:
            views = self._views()
            due = self._schedule.due(views, times.now())
            if due:
                self._materialize(due)
                views = self._views()
        except StopRun:
            seconds = 0.0
        except FeatureStoreError as error:
            seconds = self._fail("", error)
        else:
            self._schedule.done("")
            self._states.pop("", None)
            now = times.now()
            for name in self._schedule.due(views, now) if due else ():
                # By the catalog's clock, which is behind this machine's, the point of the grid has not come yet.
                self._schedule.pause(name, now)
            seconds = max(0.0, min([LOOK_SECONDS, *((at - now) / 1_000_000 for at in self._schedule.next(views, now).values())]))
        self._write_health()
        return min(seconds, LOOK_SECONDS)

    def _views(self) -> list[ViewInfo]:
        views = [view for view in self._store.views() if not self._names or view.name in self._names]
        names = frozenset(view.name for view in views)
        if names != self._known:
            self._known = names
            at = self._schedule.next(views, times.now())
            self._tell("watching", views={view.name: {"every": view.every, "next": times.text(at[view.name])} for view in views})
        return views

    def _materialize(self, names: Sequence[str]) -> None:
        runs = self._store.materialize(list(names), progress=self._stop_if_ended, failures="return", wait=timedelta(0))
        failed = {failure.view for failure in runs.failures}
        for run in runs:
            if run.view not in failed:
                self._schedule.done(run.view)
                self._states[run.view] = "ok"
            self._tell("run", **run.to_dict())
        for failure in runs.failures:
            self._fail(failure.view, failure.error)

    def _fail(self, view: str, error: FeatureStoreError) -> float:
        seconds = self._schedule.pause(view, times.now())
        held = isinstance(error, LeaseHeld)
        self._states[view] = "held" if held else "failing"
        who = {"view": view} if view else {}
        self._tell("held" if held else "failed", **who, type=type(error).__name__, message=str(error), retry_in_seconds=round(seconds, 1))
        return seconds

    def _stop_if_ended(self, progress: "ViewProgress") -> None:
        if self._ended.is_set() and progress.stage in ("wait", "copy", "read", "compute"):
            raise StopRun("the process was told to end")

    def _tell(self, event: str, **facts: Any) -> None:
        self._on_event({"event": event, "at": times.text(times.now()), **facts})

    def _write_health(self) -> None:
        if self._health is None:
            return
        failing = sorted(name for name, state in self._states.items() if state == "failing")
        state = {"at": times.text(times.now()), "state": "failing" if failing else "ok", "failing": failing, "views": self._states}
        # Whoever reads it meanwhile sees all of the old one.
        new = self._health.with_name(f"{self._health.name}.new")
        private.write(new, json_encoding.dumps(state))
        new.replace(self._health)


@contextmanager
def ended_by_signals(watch: Watch) -> Iterator[None]:
    """SIGTERM and SIGINT end the watch after the commit that is being made; a second one ends the process at once."""

    def end(number: int, frame: object) -> None:
        watch.end()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
