"""`plan` and `apply`: show what definition files would change, and change it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_sql, say

if TYPE_CHECKING:
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.pipelines.planning.step import Step

MARKS = {
    "create": "[green]+ create      [/]",
    "new version": "[yellow]» new version [/]",
    "roll back": "[yellow]« roll back   [/]",
    "update words": "[cyan]~ update words[/]",
    "change": "[yellow]~ change      [/]",
    "to fill": "[yellow]… to fill     [/]",
    "blocked": "[red]! blocked     [/]",
}

path_argument = click.argument("definitions", required=False, type=click.Path(path_type=Path))


@click.command(cls=Command)
@path_argument
@click.option("--check", is_flag=True, help="Exit with status 1 if there is anything to apply, for CI.")
@click.option("--diff", is_flag=True, help="Print a diff of the SQL of changed views.")
@click.option("--sql", is_flag=True, help="Print the SQL of new and changed views.")
@context.store_options
def plan(definitions: Path | None, check: bool, diff: bool, sql: bool) -> None:
    """Show what applying the definitions would change.

    Also shows the models that stay on older versions, and how much backfills will read. DEFINITIONS is a folder or a file;
    default: the folder of the settings. Nothing is written, and no rows are read.
    """
    with context.store() as store:
        planned = store.plan(_path(definitions))
    if context.as_json():
        print_json(planned.to_dict())
    else:
        _show(planned)
        _show_sql(planned, diff, sql)
        if planned.changed:
            say("\n[dim]next:[/] featurestore apply")
    if check and planned.changed:
        click.get_current_context().exit(1)


@click.command(cls=Command)
@path_argument
@context.store_options
def apply(definitions: Path | None) -> None:
    """Register definitions and create their tables.

    DEFINITIONS is a folder or a file; default: the folder of the settings. All changes are made, or none.
    """
    with context.store() as store:
        done = store.apply(_path(definitions))
    if context.as_json():
        print_json(done.to_dict())
        return
    _show(done)
    if done.changed:
        say("\n[green]applied[/]  [dim]next:[/] featurestore materialize")


def _path(definitions: Path | None) -> Path:
    return definitions if definitions is not None else context.settings().definitions


def _show(planned: "Plan") -> None:
    """Print a line for each step, with its notes below. Not a table, since notes are as wide as the screen."""
    changes, same, waiting = planned.groups
    widths = [max((len(getattr(step, name)) for step in (*changes, *waiting)), default=0) for name in ("kind", "name")]
    for step in changes:
        _show_step(step, MARKS[step.word], widths)
    if same:
        say(f"[dim]  {same}[/]")
    for step in waiting:
        _show_step(step, MARKS[step.word], widths)
    for remark in planned.remarks:
        say(f"[dim]  {escape(remark)}[/]")


def _show_step(step: "Step", mark: str, widths: list[int]) -> None:
    kind, name = step.kind.ljust(widths[0]), step.name.ljust(widths[1])
    say(f"{mark}   {kind}   [bold]{escape(name)}[/]   v{step.version}   {escape(step.reason)}")
    for line in step.notes:
        say(f"[dim]    {escape(line)}[/]")


def _show_sql(planned: "Plan", diff: bool, sql: bool) -> None:
    for step in planned.steps:
        title = f"\n[bold]{escape(step.name)}[/] v{step.version}"
        if diff and step.diff:
            say(title)
            print_sql(step.diff, "diff")
        if sql and step.sql and step.action in ("create", "new version"):
            say(title)
            print_sql(step.sql)
