"""`maintain`: compact small files, expire snapshots, remove orphan files."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.duration import Duration, wait_option
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.values.humanize import format_count, format_plural, format_size

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.maintain import TableMaintenance

COLUMNS = {
    "snapshots expired": "snapshots",
    "files removed": "files",
    "freed": "bytes",
    "files compacted": "compacted_files",
    "of size": "compacted_bytes",
    "rows dropped": "dropped_rows",
}
"""The printed columns: heading and field of the result."""


@click.command(cls=Command)
@click.option(
    "--older-than",
    type=Duration(),
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="Minimum age of snapshots to expire and files to remove.",
)
@click.option(
    "--drop-superseded-after",
    type=Duration(),
    metavar="DURATION",
    help="Drop versions of rows superseded longer ago than this; default: none.",
)
@wait_option
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--explain", is_flag=True, help="Only show what keeps which snapshot alive, and change nothing.")
@context.store_options
def maintain(older_than: timedelta, drop_superseded_after: timedelta | None, wait: timedelta, dry_run: bool, explain: bool) -> None:
    """Compact files, expire snapshots, remove orphan files.

    Snapshots that a training set pins are kept, however old. DURATION is a number and a unit, such as 7d or 12h. The exit
    status is 3 if another process was maintaining the store all the time.
    """
    if explain:
        _explain()
        return
    with context.store() as store:
        done = store.maintain(older_than, dry_run, drop_superseded_after, wait)
    if context.as_json():
        print_json(done)
        return
    print_table(["table", *COLUMNS], [_row(table) for table in done], right=list(COLUMNS))
    for table in done:
        if table.note:
            say(f"[yellow]{escape(table.table)}[/]: {escape(table.note)}")
    freed = format_size(sum(table.bytes for table in done))
    outcome = f"dry run, nothing was changed; {freed} would be freed" if dry_run else f"{freed} freed"
    say(f"[dim]{format_plural(len(done), 'table')}, {outcome}[/]")


def _row(table: "TableMaintenance") -> list[str]:
    cells = [
        format_size(getattr(table, name)) if name.endswith("bytes") else format_count(getattr(table, name)) for name in COLUMNS.values()
    ]
    return [escape(table.table), *cells]


def _explain() -> None:
    with context.store() as store:
        retained = store.explain_retention()
    if context.as_json():
        print_json(retained)
        return
    print_table(
        ["table", "snapshot", "committed", "kept by"],
        [
            [
                escape(snapshot.table),
                str(snapshot.snapshot_id),
                f"{snapshot.committed_at:%Y-%m-%d %H:%M:%S}Z",
                escape(", ".join(snapshot.by)) or "[dim]nothing: it expires when it is old enough[/]",
            ]
            for snapshot in retained
        ],
    )
