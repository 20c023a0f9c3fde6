"""`recipient`: who outside reads shares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say

if TYPE_CHECKING:
    from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo

LIFE = "90d"


@click.command(cls=Command)
@click.argument("action", type=click.Choice(["create", "change", "rotate", "revoke", "list"]))
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--shares", multiple=True, metavar="SHARE", help="What it may read, several with commas; repeatable.")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group of it, for masks and row filters; repeatable.")
@click.option("--expires", metavar="DURATION", help=f"How long the new key lives; default: {LIFE}.")
@click.option("--key", metavar="ID", help="With revoke: only this key.")
@context.store_options
def recipient(action: str, name: str | None, shares: Sequence[str], groups: Sequence[str], expires: str | None, key: str | None) -> None:
    """Create, change, rotate, revoke or list recipients.

    As in recipient create acme --shares partners > acme.share. The profile that create and rotate print has the bearer token
    and is shown once: it is the file that clients of Delta Sharing read. Servers follow within a second.
    """
    if (action == "list") is not (name is None):
        raise click.UsageError("recipient list takes no name" if action == "list" else "give the name of a recipient")
    if (shares or groups) and action not in ("create", "change"):
        raise click.UsageError(f"recipient {action} takes neither --shares nor --group")
    if expires and action not in ("create", "rotate"):
        raise click.UsageError(f"recipient {action} takes no --expires")
    if key and action != "revoke":
        raise click.UsageError(f"recipient {action} takes no --key")
    names = [share.strip() for text in shares for share in text.split(",")]
    with context.store() as store:
        if name is None:
            _list(store.recipients())
        elif action == "create":
            _print_profile(store.create_recipient(name, names, list(groups), expires or LIFE))
        elif action == "rotate":
            _print_profile(store.rotate_recipient(name, expires or LIFE))
        elif action == "change":
            _report("changed", store.change_recipient(name, names or None, list(groups) or None))
        else:
            _report("revoked", store.revoke_recipient(name, key), key)


def _print_profile(created: "CreatedRecipient") -> None:
    # The profile alone, with and without --json: what is redirected into a file is that file.
    print_json(dict(created.profile))
    click.echo(f"key {created.key} of {created.recipient.name}, until {moment(created.profile['expirationTime'])};", err=True)
    click.echo("keep the profile now: it is not stored and cannot be shown again", err=True)


def _report(done: str, recipient: "RecipientInfo", key: str | None = None) -> None:
    if context.as_json():
        print_json(recipient)
        return
    said = recipient.name if key is None else f"{key} of {recipient.name}"
    say(f"[green]{done}[/]  {escape(said)}: servers follow within a second")


def _list(recipients: "Sequence[RecipientInfo]") -> None:
    if context.as_json():
        print_json(list(recipients))
        return
    if not recipients:
        say("no recipients yet: featurestore recipient create NAME --shares SHARE makes one")
        return
    rows = []
    for item in recipients:
        shares, groups = (escape(", ".join(names) or "–") for names in (item.shares, item.groups))
        for key in item.keys or (None,):
            times = [moment(key.to_dict()[field]) if key is not None else "–" for field in ("expires", "last_used")]
            state = item.state if key is None else key.state
            rows.append((item.name, shares, groups, "–" if key is None else key.id, state, *times))
    print_table(("recipient", "shares", "groups", "key", "state", "expires", "last used"), rows)
