"""`promote`, `demote`, `rollback` and `archive`: which version of a model has an alias, and who decided so."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.pipelines.lineage.audit_result import AliasChange

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DONE = {"promote": "promoted", "demote": "demoted", "rollback": "rolled back", "archive": "archived", "restore": "restored"}


def _who(command: Decorated) -> Decorated:
    approver = click.option("--approver", required=True, metavar="NAME", help="Who decides this; it is recorded.")
    reason = click.option("--reason", metavar="TEXT", help="Why; it is recorded.")
    return approver(reason(context.store_options(command)))


_alias = click.option("--alias", default="champion", show_default=True, metavar="NAME", help="The alias to change.")


@click.command(cls=Command)
@click.argument("name", metavar="MODEL")
@click.argument("version")
@_alias
@click.option("--require", metavar="CONDITION", help="What its metrics must fulfill, such as 'auc > champion.auc + 0.005'.")
@click.option("--deep", is_flag=True, help="Also compute the training set again from its pinned snapshots.")
@_who
def promote(name: str, version: str, alias: str, require: str | None, deep: bool, approver: str, reason: str | None) -> None:
    """Give an alias to a version of a model, if it is verified.

    The version's stamp, files, training set and pinned snapshots are verified first, and its metrics compared. Who, when and
    why is recorded in registry.models; then the alias is set. Refused, with what is missing, otherwise.
    """
    _change("promote", name, version, alias=alias, require=require, deep=deep, approver=approver, reason=reason)


@click.command(cls=Command)
@click.argument("name", metavar="MODEL")
@_alias
@_who
def demote(name: str, alias: str, approver: str, reason: str | None) -> None:
    """Remove an alias of a model."""
    _change("demote", name, alias=alias, approver=approver, reason=reason)


@click.command(cls=Command)
@click.argument("name", metavar="MODEL")
@_alias
@_who
def rollback(name: str, alias: str, approver: str, reason: str | None) -> None:
    """Give an alias back to the version that had it before.

    The version is verified as by promote. Called again, it goes back one version further.
    """
    _change("rollback", name, alias=alias, approver=approver, reason=reason)


@click.command(cls=Command)
@click.argument("name", metavar="MODEL")
@click.argument("version")
@click.option("--restore", is_flag=True, help="Take an archived version out of the archive.")
@_who
def archive(name: str, version: str, restore: bool, approver: str, reason: str | None) -> None:
    """Mark a version of a model as not to be promoted.

    It gets MLflow's stage Archived. A version that has an alias must be demoted first.
    """
    _change("archive", name, version, restore=restore, approver=approver, reason=reason)


def _change(action: str, *arguments: str, **options: Any) -> None:
    with context.store() as store:
        if context.url() is None:
            # Imported here: MLflow takes a second to import.
            from featurestore import models  # noqa: PLC0415

            done: AliasChange = getattr(models, action)(*arguments, **options, store=store)
        else:
            done = getattr(cast("RemoteStore", store), action)(*arguments, **options)
    if context.as_json():
        print_json(done)
        return
    _show(done)


def _show(done: "AliasChange") -> None:
    for text in done.verified:
        say(f"[dim]verified  {escape(text)}[/]")
    used = ", ".join(f"{name} = {value:g}" for name, value in done.used.items())
    if used:
        say(f"[dim]metrics   {escape(used)}[/]")
    what = f"version {done.version}" if done.alias is None else f"@{done.alias}: version {done.before or '–'} -> {done.version or '–'}"
    word = DONE[done.action] if done.changed else "unchanged"
    say(f"[green]{word}[/]  {escape(f'{done.model} {what}')}, by {escape(done.approver)}")
