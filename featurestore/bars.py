"""Bars on a terminal for those who wait: for a training set, and for each view of a materialization."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from featurestore.pipelines.materialization.materialize import Progress as ViewProgress
from featurestore.pipelines.materialization.materialize import Report as ViewReport
from featurestore.pipelines.training_sets import progress as training_sets

WIDTH = 24


@contextmanager
def training_set(screen: Console | None = None) -> Iterator[training_sets.OnBuildProgress]:
    """A bar over the rows; on stderr when no console is given."""
    columns = (TextColumn("{task.description}"), BarColumn(WIDTH), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn())
    with Progress(*columns, console=screen or Console(stderr=True), transient=True) as bars:
        # A total of None is a bar that moves to and fro.
        task = bars.add_task("waiting", total=None)

        def report(now: training_sets.BuildProgress) -> None:
            bars.update(task, description=now.stage, completed=now.rows, total=now.total)

        yield report


@contextmanager
def materialization(screen: Console | None = None) -> Iterator[ViewReport]:
    """A bar over the chunks of each view while it runs; on stderr when no console is given."""
    columns = (TextColumn("{task.description}"), BarColumn(WIDTH), MofNCompleteColumn(), TextColumn("[dim]{task.fields[stage]}"))
    with Progress(*columns, TimeElapsedColumn(), console=screen or Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(now: ViewProgress) -> None:
            if now.view not in tasks:
                tasks[now.view] = bars.add_task(escape(now.view), total=now.total, stage="")
            rows = f", {now.rows:,} rows" if now.rows else ""
            left = "" if now.seconds_left is None else f", {now.seconds_left:.0f} s left"
            bars.update(tasks[now.view], completed=now.done, total=now.total, stage=f"{now.stage}{rows}{left}")

        yield report
