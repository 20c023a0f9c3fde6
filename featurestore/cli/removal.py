"""`remove`: remove a view, one version of it, a service, or a training set, after a confirmation."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say
from featurestore.values.humanize import format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.maintenance.training_set_removal import TrainingSetRemoval
    from featurestore.store_protocol import Store


@click.command(cls=Command)
@click.argument("name", metavar="VIEW")
@click.option("--version", type=int, metavar="N", help="Remove only this older version.")
@click.option("--service", is_flag=True, help="VIEW is the name of a service; remove it with all its versions.")
@click.option("--training-set", is_flag=True, help="VIEW is the id of a training set; remove it with its rows.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@context.store_options
def remove(name: str, version: int | None, service: bool, training_set: bool, dry_run: bool, yes: bool) -> None:
    """Remove a view, a version, a service or a training set.

    A version is removed with its table, all its files and its online rows. Fails if a service, a registered model or a
    training set needs it. A training set is removed with its rows and statistics, unless a model was trained on it.
    """
    if service + training_set + (version is not None) > 1:
        raise click.UsageError("give one of --version, --service and --training-set: a service is removed with all its versions")
    if context.as_json() and not (yes or dry_run):
        raise click.UsageError("--json cannot ask for confirmation; add --yes or --dry-run")
    with context.store() as store:
        kind = "service" if service else "training set" if training_set else "view"
        removal = _do(store, name, version, kind, dry_run=True)
        if not dry_run:
            if not yes:
                click.confirm(f"remove {_describe(removal)}?", abort=True, err=True)
            removal = _do(store, name, version, kind, dry_run=False)
    if context.as_json():
        print_json(removal.to_dict())
        return
    say(f"[green]{'would remove' if dry_run else 'removed'}[/]  {escape(_describe(removal))}")
    if removal.kind != "training set" and removal.services:
        say(f"[dim]with older service versions that read it: {escape(', '.join(removal.services))}[/]")


def _do(store: "Store", name: str, version: int | None, kind: str, dry_run: bool) -> "Removal | TrainingSetRemoval":
    if kind == "service":
        return store.remove_service(name, dry_run)
    if kind == "training set":
        return store.remove_training_set(name, dry_run)
    return store.remove_view(name, dry_run) if version is None else store.remove_version(name, version, dry_run)


def _describe(removal: "Removal | TrainingSetRemoval") -> str:
    contents = f": {format_plural(removal.files, 'file')}, {format_plural(removal.bytes, 'byte')}"
    if removal.kind == "training set":
        return f"training set {removal.id}, {format_plural(removal.rows, 'row')}{contents}"
    versions = ", ".join(f"v{version}" for version in removal.versions)
    return f"{removal.kind} {removal.name} {versions}{contents if removal.kind == 'view' else ''}"
