"""`materialize`: filling feature tables."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import console, moment, print_json, print_table, say
from featurestore.values.humanize import count, plural

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import Materialization, Report
    from featurestore.pipelines.materialization.outcome import Materializations


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--start", metavar="TIME", help="Compute again from this time on; where the watermark stands when left out.")
@click.option("--end", metavar="TIME", help="Up to this time; now when left out.")
@context.shared
def materialize(names: tuple[str, ...], start: str | None, end: str | None) -> None:
    """Bring views up to date, in their tables and online.

    All views when no VIEW is named. One that fails keeps no other from being brought up to date: all failures are told at the
    end, and the exit status is 1. Only what is new or changed is written, so that running it again does no harm. TIME
    is ISO 8601, in UTC when it names no zone.
    """
    with context.store() as store, _bars() as report:
        runs = store.materialize(list(names) or None, start, end, report, failures="return")
    _print(runs)
    if (error := runs.error) is not None:
        raise error


def _print(runs: "Materializations") -> None:
    """What was done to the views that could be brought up to date."""
    if context.as_json():
        print_json([run.to_dict() for run in runs])
        return
    if not runs and runs.failures:
        return
    if not runs:
        say("[dim]nothing to do: no view was applied yet; run[/] featurestore apply")
        return
    columns = ["view", "rows", "corrections", "online", "through", "seconds"]
    print_table(columns, [_row(run) for run in runs], right=["rows", "corrections", "online", "seconds"])
    for run in runs:
        _warn(run)


def _bars() -> AbstractContextManager["Report | None"]:
    """A bar for each view while it runs, where someone watches."""
    screen = console(stderr=True)
    if context.as_json() or not screen.is_terminal:
        return nullcontext()
    # Here and not above: what it draws the progress of takes longer to import than `--help` may take to print.
    from featurestore import bars  # noqa: PLC0415

    return bars.materialization(screen)


def _row(run: "Materialization") -> list[str]:
    through = moment(run.to_dict()["end"])
    corrections = f"[yellow]{count(run.corrections)}[/]" if run.corrections else "0"
    return [
        f"[bold]{escape(run.view)}[/]",
        f"+{count(run.rows_appended)}",
        corrections,
        count(run.published),
        through,
        f"{run.seconds:.1f}",
    ]


def _warn(run: "Materialization") -> None:
    if run.future_rows:
        say(f"[yellow]{escape(run.view)}[/]: {plural(run.future_rows, 'row')} of its source have a time in the future and were left out")
    for outcome in run.checks:
        if not outcome.passed:
            say(f"[yellow]{escape(run.view)}[/]: {escape(outcome.line)}")
    if run.null_keys:
        say(f"[yellow]{escape(run.view)}[/]: {plural(run.null_keys, 'row')} of its source have no key and were left out")
