"""Progress bars on a terminal: one for a training set, and one for each view of a materialization."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from featurestore.pipelines.materialization.materialize import OnViewProgress, ViewProgress
from featurestore.pipelines.training_sets.progress import BuildProgress, OnBuildProgress

WIDTH = 24


@contextmanager
def training_set_bar(console: Console | None = None) -> Iterator[OnBuildProgress]:
    """A bar of the rows written; on stderr without a console."""
    columns = (TextColumn("{task.description}"), BarColumn(WIDTH), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn())
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as bars:
        # With a total of None the bar pulses.
        task = bars.add_task("waiting", total=None)

        def report(now: BuildProgress) -> None:
            bars.update(task, description=now.stage, completed=now.rows, total=now.total)

        yield report


@contextmanager
def materialization_bars(console: Console | None = None) -> Iterator[OnViewProgress]:
    """A bar of the finished chunks for each view; on stderr without a console."""
    columns = (TextColumn("{task.description}"), BarColumn(WIDTH), MofNCompleteColumn(), TextColumn("[dim]{task.fields[stage]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console or Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(now: ViewProgress) -> None:
            if now.view not in tasks:
                tasks[now.view] = bars.add_task(escape(now.view), total=now.total, stage="")
            rows = f", {now.rows:,} rows" if now.rows else ""
            left = "" if now.seconds_left is None else f", {now.seconds_left:.0f} s left"
            bars.update(tasks[now.view], completed=now.done, total=now.total, stage=f"{now.stage}{rows}{left}")

        yield report
