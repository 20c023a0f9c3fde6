"""`plan` and `apply`: what definition files would change, and changing it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import plural, print_json, print_sql, print_table, say

if TYPE_CHECKING:
    from featurestore.pipelines.plan import Plan
    from featurestore.store import FeatureStore

MARKS = {
    "create": "[green]+ create[/]",
    "new version": "[yellow]» new version[/]",
    "update words": "[cyan]~ update words[/]",
    "remove": "[red]- remove[/]",
    "unchanged": "[dim]  unchanged[/]",
}

path_argument = click.argument("definitions", required=False, type=click.Path(path_type=Path))


@click.command(cls=Command)
@path_argument
@click.option("--check", is_flag=True, help="Exit with status 1 when there is anything to apply, for CI.")
@click.option("--sql", is_flag=True, help="Print the SQL of new and changed views.")
@context.shared
def plan(definitions: Path | None, check: bool, sql: bool) -> None:
    """Show what applying the definitions would change.

    DEFINITIONS is a folder or a file; the settings' folder when left out. Nothing is written.
    """
    with context.store() as store:
        found = store.plan(_path(store, definitions))
    if context.as_json():
        print_json(found.to_dict())
    else:
        _show(found, sql)
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
        done = store.apply(_path(store, definitions))
    if context.as_json():
        print_json(done.to_dict())
        return
    _show(done, sql=False)
    if done.changed:
        say("\n[green]applied[/]  [dim]next:[/] featurestore materialize")


def _path(store: "FeatureStore", given: Path | None) -> Any:
    return given if given is not None else store.settings.definitions


def _show(found: "Plan", sql: bool) -> None:
    changes = [step for step in found.steps if step.action != "unchanged"]
    same = len(found.steps) - len(changes)
    if changes:
        rows = [
            [MARKS[step.action], step.kind, f"[bold]{escape(step.name)}[/]", f"v{step.version}", escape(step.reason)] for step in changes
        ]
        print_table(["", "", "", "", ""], rows)
    if same:
        say(f"[dim]  {plural(same, 'definition')} unchanged[/]")
    for step in changes if sql else ():
        if step.sql:
            say(f"\n[bold]{escape(step.name)}[/] v{step.version}")
            print_sql(step.sql)
