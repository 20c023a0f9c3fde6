"""`verify-online`: whether the online store holds what the tables hold."""

from collections.abc import Mapping
from typing import Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.values import json_encoding
from featurestore.values.humanize import count


@click.command("verify-online", cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Compare so many rows of each table, drawn anew; all when left out."
)
@context.shared
def verify_online(names: tuple[str, ...], sample: int | None) -> None:
    """Compare the online store with the tables.

    All views when no VIEW is named. Each row online is held against the newest row of its key at the snapshot that the online store says
    it holds, bit for bit. What differs is printed, and the exit status is then 1.
    """
    with context.store_at_hand("verify-online") as store:
        found = store.verify_online(list(names) or None, sample)
    if context.as_json():
        print_json(found)
    else:
        _show(found)
    if not all(one["same"] for one in found):
        click.get_current_context().exit(1)


def _show(found: list[dict[str, Any]]) -> None:
    counts = ("rows", "missing", "changed", "extra")
    rows = [[f"[bold]{escape(one['view'])}[/]", escape(one["table"]), *(count(one[name]) for name in counts)] for one in found]
    print_table(["view", "table", *counts], rows, right=counts)
    for one in found:
        for difference in one["differences"]:
            say(f"[red]{escape(one['table'])}[/]  {escape(_said(difference))}")
        more = one["missing"] + one["extra"] + one["changed"] - len({_key(difference) for difference in one["differences"]})
        if more > 0:
            say(f"[red]{escape(one['table'])}[/]  and {count(more)} more")
    if all(one["same"] for one in found):
        say("[green]the same, bit for bit[/]")
    else:
        say("[yellow]featurestore publish --full[/] puts the rows of the tables in the place of those online")


def _said(difference: Mapping[str, Any]) -> str:
    """One difference as a line."""
    if difference["what"] == "changed":
        values = f"online {_text(difference['online'])}, in the table {_text(difference['table'])}"
        return f"{_key(difference)}  {difference['feature']}: {values}"
    return f"{_key(difference)}  {'missing online' if difference['what'] == 'missing' else 'online, and not in the table'}"


def _key(difference: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in difference["key"].items())


def _text(value: Any) -> str:
    return "NULL" if value is None else json_encoding.dumps(value, default=json_encoding.plain).decode()
