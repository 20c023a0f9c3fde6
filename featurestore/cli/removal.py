"""`remove`: remove a view, one version of it, or a service, after a confirmation."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say
from featurestore.values.humanize import format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.store_protocol import Store


@click.command(cls=Command)
@click.argument("name", metavar="VIEW")
@click.option("--version", type=int, metavar="N", help="Remove only this older version.")
@click.option("--service", is_flag=True, help="VIEW is the name of a service; remove it with all its versions.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@context.store_options
def remove(name: str, version: int | None, service: bool, dry_run: bool, yes: bool) -> None:
    """Remove a view, one version of it, or a service.

    A version is removed with its table, all its files and its online rows. Fails if a service, a registered model or a
    training set needs it.
    """
    if service and version is not None:
        raise click.UsageError("--version needs a view; a service is removed with all its versions")
    if context.as_json() and not (yes or dry_run):
        raise click.UsageError("--json cannot ask for confirmation; add --yes or --dry-run")
    with context.store() as store:
        removal = _do(store, name, version, service, dry_run=True)
        if not dry_run:
            if not yes:
                click.confirm(f"remove {_describe(removal)}?", abort=True, err=True)
            removal = _do(store, name, version, service, dry_run=False)
    if context.as_json():
        print_json(removal.to_dict())
        return
    say(f"[green]{'would remove' if dry_run else 'removed'}[/]  {escape(_describe(removal))}")
    if removal.services:
        say(f"[dim]with older service versions that read it: {escape(', '.join(removal.services))}[/]")


def _do(store: "Store", name: str, version: int | None, service: bool, dry_run: bool) -> "Removal":
    if service:
        return store.remove_service(name, dry_run)
    return store.remove_view(name, dry_run) if version is None else store.remove_version(name, version, dry_run)


def _describe(removal: "Removal") -> str:
    versions = ", ".join(f"v{version}" for version in removal.versions)
    contents = f": {format_plural(removal.files, 'file')}, {format_plural(removal.bytes, 'byte')}" if removal.kind == "view" else ""
    return f"{removal.kind} {removal.name} {versions}{contents}"
