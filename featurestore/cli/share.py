"""`share`: what others outside may read, with any client of Delta Sharing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say
from featurestore.errors import NotFound
from featurestore.values.humanize import format_plural

if TYPE_CHECKING:
    from featurestore.sharing.share_results import ShareInfo

EXAMPLE = "VIEW customer_orders"


@click.command(cls=Command)
@click.argument("action", type=click.Choice(["create", "add", "remove", "drop", "list", "show"]))
@click.argument("name", required=False, metavar="[NAME]")
@click.argument("words", nargs=-1, metavar="[OBJECT]")
@click.option("--as", "as_name", metavar="SCHEMA.TABLE", help="With add: what recipients see the object as.")
@context.store_options
def share(action: str, name: str | None, words: Sequence[str], as_name: str | None) -> None:
    """Create, fill, list or drop shares.

    As in share create partners, and share add partners VIEW customer_orders. Objects: VIEW, TABLE, TRAINING_SET. Servers
    follow within a second.
    """
    if (action == "list") is not (name is None):
        raise click.UsageError("share list takes no name" if action == "list" else "give the name of a share")
    if (action in ("add", "remove")) is not bool(words):
        raise click.UsageError(f"share {action} takes no object" if words else f"give an object, as in share {action} NAME {EXAMPLE}")
    if as_name is not None and action != "add":
        raise click.UsageError(f"share {action} takes no --as")
    with context.store() as store:
        if name is None:
            _list(store.shares())
        elif action == "create":
            _report("created", store.create_share(name))
        elif action == "drop":
            _report("dropped", store.remove_share(name))
        elif action == "show":
            _show(_named(store.shares(), name))
        elif action == "add":
            _report("shared", store.add_to_share(name, " ".join(words), as_name), " ".join(words))
        else:
            _report("removed", store.remove_from_share(name, " ".join(words)), " ".join(words))


def _report(done: str, share: "ShareInfo", on: str = "") -> None:
    if context.as_json():
        print_json(share)
        return
    said = f"{on} {'in' if done == 'shared' else 'from'} {share.name}" if on else share.name
    say(f"[green]{done}[/]  {escape(said)}: servers follow within a second")


def _list(shares: "Sequence[ShareInfo]") -> None:
    if context.as_json():
        print_json(list(shares))
        return
    if not shares:
        say("no shares yet: featurestore share create NAME makes one")
        return
    rows = [
        (share.name, str(len(share.tables)), escape(", ".join(share.recipients) or "–"), moment(share.to_dict()["created"]))
        for share in shares
    ]
    print_table(("share", "tables", "recipients", "created"), rows, right=("tables",))


def _show(share: "ShareInfo") -> None:
    if context.as_json():
        print_json(share)
        return
    readers = escape(", ".join(share.recipients)) or "nobody"
    say(f"{share.name}: {format_plural(len(share.tables), 'table')}, read by {readers}")
    rows = [(table.table, escape(table.on), moment(table.to_dict()["added"]), escape(table.added_by or "–")) for table in share.tables]
    if rows:
        print_table(("table", "object", "added", "by"), rows)


def _named(shares: "Sequence[ShareInfo]", name: str) -> "ShareInfo":
    found = next((share for share in shares if share.name == name.lower()), None)
    if found is None:
        raise NotFound("share", name, [share.name for share in shares])
    return found
