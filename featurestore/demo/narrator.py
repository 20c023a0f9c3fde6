"""What the demo says while it works: numbered steps with their seconds, facts below them, a bar for what takes long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from featurestore.pipelines.materialization.materialize import OnViewProgress, ViewProgress


class Narrator:
    """Numbers the steps. `seconds` is what all finished steps took together."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps = 0
        self.seconds = 0.0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step: its title before, its seconds after."""
        self.steps += 1
        self.console.print(f"\n[bold cyan]{self.steps}[/]  [bold]{title}[/]")
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self.seconds += took
        self.say(f"[dim]{took:.1f} s[/]")

    def say(self, text: str) -> None:
        """A line below the step; rich's markup."""
        self.console.print(f"   {text}", highlight=False)

    def code(self, text: str) -> None:
        """A line to copy: nothing in it is markup, and it is not wrapped."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True, style="green")

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """A table; a column whose title begins with `>` is aligned to the right."""
        shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_header=any(columns))
        for column in columns:
            shown.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
        for row in rows:
            shown.add_row(*row)
        self.console.print(Padding(shown, (0, 0, 0, 3), expand=False))

    @contextmanager
    def bars(self) -> Iterator[OnViewProgress]:
        """A bar for each view that reports progress; they go away with the block, the numbers are told after it."""
        columns = [TextColumn("   {task.description:<20}"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[stage]:<8}")]
        with Bars(*columns, TimeElapsedColumn(), console=self.console, transient=True) as bars:
            tasks: dict[str, int] = {}

            def report(progress: ViewProgress) -> None:
                if progress.view not in tasks:
                    tasks[progress.view] = bars.add_task(progress.view, total=progress.total, stage="")
                bars.update(bars.tasks[tasks[progress.view]].id, completed=progress.done, total=progress.total, stage=progress.stage)

            yield report
