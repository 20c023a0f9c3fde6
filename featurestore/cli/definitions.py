"""`plan` and `apply`: what definition files would change, and changing it."""

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
    "to fill": "[yellow]… to fill     [/]",
    "blocked": "[red]! blocked     [/]",
}

path_argument = click.argument("definitions", required=False, type=click.Path(path_type=Path))


@click.command(cls=Command)
@path_argument
@click.option("--check", is_flag=True, help="Exit with status 1 when there is anything to apply, for CI.")
@click.option("--diff", is_flag=True, help="Print how the SQL of changed views differs from the version before.")
@click.option("--sql", is_flag=True, help="Print the SQL of new and changed views.")
@context.shared
def plan(definitions: Path | None, check: bool, diff: bool, sql: bool) -> None:
    """Show what applying the definitions would change.

    And what follows from it: the models that stay on older versions, and what backfills will read. DEFINITIONS is a folder
    or a file; the settings' folder when left out. Nothing is written, and no row is read.
    """
    with context.store() as store:
        found = store.plan(_path(definitions))
    if context.as_json():
        print_json(found.to_dict())
    else:
        _show(found)
        _show_sql(found, diff, sql)
        if found.changed:
            say("\n[dim]to do it:[/] featurestore apply")
    if check and found.changed:
        click.get_current_context().exit(1)


@click.command(cls=Command)
@path_argument
@context.shared
def apply(definitions: Path | None) -> None:
    """Register definitions and make their tables.

    DEFINITIONS is a folder or a file; the settings' folder when left out. All of it is done, or nothing.
    """
    with context.store() as store:
        done = store.apply(_path(definitions))
    if context.as_json():
        print_json(done.to_dict())
        return
    _show(done)
    if done.changed:
        say("\n[green]applied[/]  [dim]next:[/] featurestore materialize")


def _path(given: Path | None) -> Path:
    return given if given is not None else context.settings().definitions


def _show(found: "Plan") -> None:
    """A line for each step, and below it what to know of it: no table, since these are as wide as the screen."""
    changes, same, waiting = found.groups
    widths = [max((len(getattr(step, name)) for step in (*changes, *waiting)), default=0) for name in ("kind", "name")]
    for step in changes:
        _show_step(step, MARKS[step.word], widths)
    if same:
        say(f"[dim]  {same}[/]")
    for step in waiting:
        _show_step(step, MARKS[step.word], widths)
    for remark in found.remarks:
        say(f"[dim]  {escape(remark)}[/]")


def _show_step(step: "Step", mark: str, widths: list[int]) -> None:
    kind, name = step.kind.ljust(widths[0]), step.name.ljust(widths[1])
    say(f"{mark}   {kind}   [bold]{escape(name)}[/]   v{step.version}   {escape(step.reason)}")
    for line in step.notes:
        say(f"[dim]    {escape(line)}[/]")


def _show_sql(found: "Plan", diff: bool, sql: bool) -> None:
    for step in found.steps:
        title = f"\n[bold]{escape(step.name)}[/] v{step.version}"
        if diff and step.diff:
            say(title)
            print_sql(step.diff, "diff")
        if sql and step.sql and step.action in ("create", "new version"):
            say(title)
            print_sql(step.sql)
