"""`publish`: publish feature tables to the online store, without computing anything."""

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.values.humanize import format_count


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--full", is_flag=True, help="Replace all online rows of each table.")
@context.store_options
def publish(names: tuple[str, ...], full: bool) -> None:
    """Publish feature tables to the online store.

    Publishes all views if no VIEW is named, as the next materialize would, but computes nothing. With --full the online rows of each
    table are replaced atomically, which restores rows that were lost or changed online.
    """
    with context.store() as store:
        done = store.publish(list(names) or None, full)
    if context.as_json():
        print_json(done)
        return
    rows = [
        [
            f"[bold]{escape(publication.view)}[/]",
            escape(publication.table),
            format_count(publication.rows),
            str(publication.snapshot_id or "–"),
        ]
        for publication in done
    ]
    print_table(["view", "table", "rows", "snapshot"], rows, right=["rows"])
    for publication in done:
        if publication.snapshot_id is None:
            say(f"[yellow]{escape(publication.table)} has no rows to publish; run:[/] featurestore materialize")
