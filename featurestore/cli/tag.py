"""`tag` and `tags`: names for the snapshots of tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import note, print_json, print_table, say
from featurestore.errors import NotFound
from featurestore.values.humanize import format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.named_version import NamedVersion


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--tables",
    multiple=True,
    metavar="TABLE",
    help="A view or a table, several with commas; repeatable. Default: every feature table, and every table that views and spines read.",
)
@click.option("--remove", is_flag=True, help="Remove the tag: its snapshots expire like any other.")
@click.option("--by", metavar="NAME", help="Who sets it; it is recorded. Default: the user, or with --url the principal.")
@context.store_options
def tag(name: str, tables: Sequence[str], remove: bool, by: str | None) -> None:
    """Pin the current snapshots of tables under a name.

    From then on, @NAME stands for them wherever a snapshot is accepted, as in training-set --snapshot @release-2026-11, and each
    table has an Iceberg tag of this name, so that they do not expire. A tag is never moved.
    """
    if remove and (tables or by):
        raise click.UsageError("--remove takes neither --tables nor --by")
    names = [table.strip() for text in tables for table in text.split(",")]
    with context.store() as store:
        version = store.remove_tag(name) if remove else store.tag(name, names or None, by=by)
    if context.as_json():
        print_json(version)
        return
    say(f"[green]{'removed' if remove else 'tagged'}[/]  {escape(version.name)}, {format_plural(len(version.tables), 'table')}")
    if not remove:
        _show_tables(version)


@click.command(cls=Command)
@click.argument("name", required=False)
@context.store_options
def tags(name: str | None) -> None:
    """List the tags, or show the snapshots of one."""
    with context.store() as store:
        versions = store.tags()
    if name is not None:
        versions = [_named(versions, name)]
    if context.as_json():
        print_json(versions if name is None else versions[0])
    elif name is not None:
        _show_tables(versions[0])
    elif versions:
        print_table(["tag", "tables", "set", "by"], list(map(_row, versions)), right=["tables"])
    else:
        say("[dim]no tags[/]")
    for version in versions:
        if not version.complete:
            note(f"[yellow]incomplete[/]  {escape(version.name)}: a call was interrupted; the next tag, or maintain, finishes it")


def _named(versions: "Sequence[NamedVersion]", name: str) -> "NamedVersion":
    wanted = name.removeprefix("@")
    found = next((version for version in versions if version.name == wanted), None)
    if found is None:
        raise NotFound("tag", wanted, [version.name for version in versions])
    return found


def _row(version: "NamedVersion") -> list[str]:
    return [escape(version.name), str(len(version.tables)), f"{version.at:%Y-%m-%d %H:%M:%S}Z", escape(version.by or "–")]


def _show_tables(version: "NamedVersion") -> None:
    rows = [[escape(table), "–" if snapshot is None else str(snapshot)] for table, snapshot in sorted(version.tables.items())]
    print_table(["table", "snapshot"], rows)
