"""`history`: what happened to a table. `write`: write the rows of a file to a table."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.pipelines.written.write import WriteMode

MODES = ("merge", "append", "overwrite")


@click.command(cls=Command)
@click.argument("table")
@context.store_options
def history(table: str) -> None:
    """Show what happened to a table.

    The newest is first. TABLE is a view or a written table, a feature table such as customer_orders_v1, or any table of the catalog
    such as shop.orders. Snapshots that maintenance has expired are not listed; each expiry is.
    """
    with context.store() as store:
        events = store.history(table)
    if context.as_json():
        print_json(events)
        return
    rows = [
        [
            moment(str(event["at"])),
            escape(event.operation),
            "–" if event.rows is None else format_count(event.rows),
            escape(event.by or "–"),
            str(event.snapshot_id or "–"),
            escape(event.run_id or "–"),
        ]
        for event in events
    ]
    print_table(["time", "operation", "rows", "by", "snapshot", "run"], rows, right=["rows"])


@click.command(cls=Command)
@click.argument("table")
@click.argument("file")
@click.option("--mode", type=click.Choice(MODES), default="merge", show_default=True, help="What to do with stored rows.")
@click.option("--run-id", metavar="ID", help="An id of this write; a second write with it adds nothing.")
@context.store_options
def write(table: str, file: str, mode: "WriteMode", run_id: str | None) -> None:
    """Write the rows of a file to a table, by its keys.

    FILE is Parquet or CSV. TABLE was made by create_table. A merge corrects stored rows of the same keys and timestamp, an append
    refuses to, and an overwrite deletes the rows that the file leaves out. The rows are published online.
    """
    # Imported here: reading files loads the engine.
    from featurestore.client.spines import open_files  # noqa: PLC0415

    with context.store() as store, open_files(file, noun="file of rows") as rows:
        done = store.write_table(table, rows, mode, run_id)
    if context.as_json():
        print_json(done)
        return
    counts = f"{format_count(done.rows_appended)} of {format_count(done.rows)} rows were new or changed"
    say(f"[bold]{escape(done.table)}[/]  {counts}; {format_count(done.deletions)} deleted, {format_count(done.published)} published")
