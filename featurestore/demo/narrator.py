"""The demo's output: numbered steps with their seconds, facts, and progress bars."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from featurestore.pipelines.materialization.materialize import OnViewProgress, ViewProgress


class Narrator:
    """Prints numbered steps; `seconds` is the total time of all finished steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps = 0
        self.seconds = 0.0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step: prints its title before and its seconds after the block."""
        self.steps += 1
        self.console.print(f"\n[bold cyan]{self.steps}[/]  [bold]{title}[/]")
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self.seconds += seconds
        self.say(f"[dim]{seconds:.1f} s[/]")

    def say(self, text: str) -> None:
        """Print a line with rich markup below the step."""
        self.console.print(f"   {text}", highlight=False)

    def code(self, text: str) -> None:
        """Print a line for copying, without markup and wrapping."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True, style="green")

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print a table; columns whose titles start with `>` are right-aligned."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_header=any(columns))
        for column in columns:
            table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print(Padding(table, (0, 0, 0, 3), expand=False))

    @contextmanager
    def bars(self) -> Iterator[OnViewProgress]:
        """A progress bar for each view, removed at the end of the block."""
        columns = [TextColumn("   {task.description:<20}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[stage]:<8}")]
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as bars:
            tasks: dict[str, int] = {}

            def report(progress: ViewProgress) -> None:
                if progress.view not in tasks:
                    tasks[progress.view] = bars.add_task(progress.view, total=progress.total, stage="")
                bars.update(bars.tasks[tasks[progress.view]].id, completed=progress.done, total=progress.total, stage=progress.stage)

            yield report
