"""`publish`: the online store brought to the tables, without a run."""

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.values.humanize import count


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--full", is_flag=True, help="Put all rows of each table in the place of what is online of it.")
@context.shared
def publish(names: tuple[str, ...], full: bool) -> None:
    """Bring the online store to the tables by hand.

    All views when no VIEW is named. Rows go online as after the next run, and nothing is computed. With --full each table is replaced as a
    whole, in one step for readers: after that, nothing that was lost or changed online stays so.
    """
    with context.store_at_hand("publish") as store:
        done = store.publish(list(names) or None, full)
    if context.as_json():
        print_json(done)
        return
    rows = [[f"[bold]{escape(one['view'])}[/]", escape(one["table"]), count(one["rows"]), one["snapshot_id"] or "–"] for one in done]
    print_table(["view", "table", "rows", "snapshot"], rows, right=["rows"])
    for one in done:
        if one["snapshot_id"] is None:
            say(f"[yellow]{escape(one['table'])} has no rows to publish:[/] featurestore materialize")
