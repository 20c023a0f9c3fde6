"""`key`: the API keys of a store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say

if TYPE_CHECKING:
    from featurestore.access.key_results import ApiKey
    from featurestore.store_protocol import Store

LIFE = "90d"


@click.command(cls=Command)
@click.argument("action", type=click.Choice(["create", "list", "revoke"]))
@click.argument("name", required=False, metavar="[NAME|ID]")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group of the new key; repeatable.")
@click.option("--admin", is_flag=True, help="The new key may do everything.")
@click.option("--expires", metavar="DURATION", help=f"How long the new key lives; default: {LIFE}.")
@context.store_options
def key(action: str, name: str | None, groups: Sequence[str], admin: bool, expires: str | None) -> None:
    """Create, list or revoke API keys.

    As in key create NAME --group analysts, or key revoke ID. A new key is shown once. From the first key on, servers ask
    everybody for credentials; all of them follow within a second.
    """
    if action == "list":
        if name is not None:
            raise click.UsageError("key list takes no name")
    elif name is None:
        raise click.UsageError("give the name of whoever will use the key" if action == "create" else "give the id of a key")
    if action != "create" and (groups or admin or expires):
        raise click.UsageError(f"key {action} takes neither --group nor --admin nor --expires")
    with context.store() as store:
        if name is None:
            _list(store.keys())
        elif action == "create":
            _create(store, name, groups, admin, expires or LIFE)
        else:
            _revoke(store.revoke_key(name))


def _create(store: "Store", name: str, groups: Sequence[str], admin: bool, expires: str) -> None:
    created = store.create_key(name, list(groups), admin, expires)
    if context.as_json():
        print_json(created)
        return
    # Alone on its line, to be copied or piped; nothing breaks it.
    click.echo(created.token)
    click.echo(f"key {created.key.id} of {created.key.name}, until {moment(created.to_dict()['key']['expires'])};", err=True)
    click.echo("keep it now: it is not stored and cannot be shown again", err=True)


def _list(keys: "Sequence[ApiKey]") -> None:
    if context.as_json():
        print_json(list(keys))
        return
    if not keys:
        say("no API keys yet: servers ask for no credentials, unless a token or OpenID Connect is configured")
        return
    rows = []
    for item in keys:
        shown = item.to_dict()
        who = f"{escape(item.name)}{' (administrator)' if item.administrator else ''}"
        times = [moment(shown[field]) if shown[field] else "–" for field in ("created", "expires", "last_used")]
        rows.append((item.id, who, escape(", ".join(item.groups) or "–"), item.state, *times))
    print_table(("id", "name", "groups", "state", "created", "expires", "last used"), rows)


def _revoke(revoked: "ApiKey") -> None:
    if context.as_json():
        print_json(revoked)
        return
    say(f"[green]revoked[/]  {escape(revoked.id)} of {escape(revoked.name)}: servers refuse it within a second")
