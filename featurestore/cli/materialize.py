"""`materialize`: compute features into tables and the online store."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.duration import Duration, wait_option
from featurestore.cli.help import Command
from featurestore.cli.output import console, moment, print_json, print_line, print_table, say
from featurestore.values.humanize import format_count, format_names, format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.materialization.materialize import Materialization, OnViewProgress
    from featurestore.pipelines.materialization.outcome import Materializations


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--start", metavar="TIME", help="Recompute from this time; default: from the watermark.")
@click.option("--end", metavar="TIME", help="Compute up to this time; default: now.")
@wait_option
@click.option("--watch", is_flag=True, help="Go on: run each view at the points of its own grid.")
@click.option(
    "--every",
    type=Duration(),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="With --watch: how often to run views without a grid.",
)
@click.option(
    "--health",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --watch: write the state of each view here, every few seconds.",
)
@context.store_options
def materialize(
    names: tuple[str, ...], start: str | None, end: str | None, wait: timedelta, watch: bool, every: timedelta, health: Path | None
) -> None:
    """Update views, in their tables and online.

    Updates all views if no VIEW is named. If one fails, the others are still updated; failures are printed at the end, and
    the exit status is 1; it is 3 if other processes were updating all that is missing. Only new and changed rows are
    written, so that a second run appends nothing. TIME is ISO 8601, in UTC without a zone.

    With --watch, it works until SIGTERM: a view runs at each point of its grid, once for all points that were missed, and
    never in two processes at a time. With --json, it prints a line for each run.
    """
    if watch:
        if start is not None or end is not None:
            raise click.UsageError("--watch runs each view up to the present: leave --start and --end out")
        _watch(names, every, health)
        return
    with context.store() as store, _bars() as report:
        runs = store.materialize(list(names) or None, start, end, report, failures="return", wait=wait)
    _print(runs)
    if (error := runs.error) is not None:
        raise error


def _watch(names: Sequence[str], every: timedelta, health: Path | None) -> None:
    # Imported here, since it would slow down `--help`.
    from featurestore.cli.watch import Watch, ended_by_signals  # noqa: PLC0415

    if every < timedelta(seconds=1):
        raise click.BadParameter("must be a second or more", param_hint="--every")
    if health is not None and not health.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {health.absolute().parent}", param_hint="--health")
    with context.store() as store:
        watch = Watch(store, names, every, print_line if context.as_json() else _print_event, health)
        with ended_by_signals(watch):
            watch.run()


def _print_event(event: Mapping[str, Any]) -> None:
    """Print what happened in a line for people."""
    kind, view = event["event"], escape(event.get("view", ""))
    if kind == "run":
        text = f"[bold]{view}[/]  +{format_count(event['rows_appended'])}, {format_count(event['corrections'])} corrections"
    elif kind == "watching":
        text = f"watching {format_names([escape(name) for name in event['views']]) or 'no view yet'}"
    elif kind == "stopped":
        text = "stopped"
    else:
        text = f"[yellow]{kind}[/]  {escape(event['message'])}; again in {event['retry_in_seconds']} s"
    say(f"[dim]{moment(event['at'])}[/]  {text}")


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
