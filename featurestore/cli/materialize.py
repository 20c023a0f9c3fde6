"""`materialize`: compute features into tables and the online store."""

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.duration import wait_option
from featurestore.cli.help import Command
from featurestore.cli.output import console, moment, print_json, print_table, say
from featurestore.values.humanize import format_count, format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import Materialization, OnViewProgress
    from featurestore.pipelines.materialization.outcome import Materializations


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--start", metavar="TIME", help="Recompute from this time; default: from the watermark.")
@click.option("--end", metavar="TIME", help="Compute up to this time; default: now.")
@wait_option
@context.store_options
def materialize(names: tuple[str, ...], start: str | None, end: str | None, wait: timedelta) -> None:
    """Update views, in their tables and online.

    Updates all views if no VIEW is named. If one fails, the others are still updated; failures are printed at the end, and
    the exit status is 1; it is 3 if other processes were updating all that is missing. Only new and changed rows are
    written, so that a second run appends nothing. TIME is ISO 8601, in UTC without a zone.
    """
    with context.store() as store, _bars() as report:
        runs = store.materialize(list(names) or None, start, end, report, failures="return", wait=wait)
    _print(runs)
    if (error := runs.error) is not None:
        raise error


def _print(runs: "Materializations") -> None:
    """Print the result of each view that was updated."""
    if context.as_json():
        print_json([run.to_dict() for run in runs])
        return
    if not runs and runs.failures:
        return
    if not runs:
        say("[dim]nothing to do: no view is applied yet; run[/] featurestore apply")
        return
    columns = ["view", "rows", "corrections", "online", "through", "seconds"]
    print_table(columns, [_row(run) for run in runs], right=["rows", "corrections", "online", "seconds"])
    for run in runs:
        _warn(run)


def _bars() -> AbstractContextManager["OnViewProgress | None"]:
    """A progress bar for each view, if stderr is a terminal."""
    screen = console(stderr=True)
    if context.as_json() or not screen.is_terminal:
        return nullcontext()
    # Imported here, since it would slow down `--help`.
    from featurestore import bars  # noqa: PLC0415

    return bars.materialization_bars(screen)


def _row(run: "Materialization") -> list[str]:
    through = moment(run.to_dict()["end"])
    corrections = f"[yellow]{format_count(run.corrections)}[/]" if run.corrections else "0"
    return [
        f"[bold]{escape(run.view)}[/]",
        f"+{format_count(run.rows_appended)}",
        corrections,
        format_count(run.published),
        through,
        f"{run.seconds:.1f}",
    ]


def _warn(run: "Materialization") -> None:
    if run.future_rows:
        say(f"[yellow]{escape(run.view)}[/]: {format_plural(run.future_rows, 'row')} of its source are in the future and were skipped")
    for outcome in run.checks:
        if not outcome.passed:
            say(f"[yellow]{escape(run.view)}[/]: {escape(outcome.line)}")
    if run.null_keys:
        say(f"[yellow]{escape(run.view)}[/]: {format_plural(run.null_keys, 'row')} of its source have a NULL key and were skipped")
