"""`grant` and `revoke`: privileges on objects, for users and groups."""

from collections.abc import Sequence

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say

USAGE = "READ ON VIEW customer_orders {} GROUP analysts"


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="PRIVILEGE ON OBJECT TO GRANTEE")
@context.store_options
def grant(words: Sequence[str]) -> None:
    """Grant a privilege on an object.

    As in grant READ ON VIEW customer_orders TO GROUP analysts. Privileges: USE, READ, READ_ONLINE, WRITE, MANAGE, OWN,
    APPROVE_MODEL, SHARE. Objects: CATALOG, NAMESPACE, TABLE, ENTITY, SOURCE, VIEW, SERVICE, MODEL. Grantees: USER, GROUP.
    Servers follow within a second. An object has one owner: OWN hands it over.
    """
    privilege, on, to = _parse(words, "TO")
    with context.store() as store:
        granted = store.grant(privilege, on, to)
    if context.as_json():
        print_json(granted)
        return
    say(f"[green]granted[/]  {escape(f'{granted.privilege} on {granted.on} to {granted.to}')}: servers follow within a second")


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="PRIVILEGE ON OBJECT FROM GRANTEE")
@context.store_options
def revoke(words: Sequence[str]) -> None:
    """Revoke a privilege on an object.

    As in revoke READ ON VIEW customer_orders FROM GROUP analysts. Servers follow within a second.
    """
    privilege, on, to = _parse(words, "FROM")
    with context.store() as store:
        revoked = store.revoke(privilege, on, to)
    if context.as_json():
        print_json(revoked)
        return
    say(f"[green]revoked[/]  {escape(f'{revoked.privilege} on {revoked.on} from {revoked.to}')}: servers follow within a second")


def _parse(words: Sequence[str], preposition: str) -> tuple[str, str, str]:
    """The privilege, the object and the grantee of a command. The kinds of object and grantee stand after ON and TO or FROM."""
    # One argument may hold several words, as a shell passes what is quoted.
    parts = " ".join(words).split(" ")
    upper = [part.upper() for part in parts]
    if len(parts) < 3 or upper[1] != "ON" or preposition not in upper[2:]:
        raise click.UsageError(f"write {USAGE.format(preposition)}")
    # The last one: names of models may have spaces.
    at = len(upper) - 1 - upper[::-1].index(preposition)
    return parts[0], " ".join(parts[2:at]), " ".join(parts[at + 1 :])
