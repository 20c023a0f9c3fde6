"""`maintain`: keeping the tables tidy, and saying what that frees."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.dsl import durations
from featurestore.values.humanize import count, plural, size

COLUMNS = {
    "snapshots expired": "snapshots",
    "files swept": "files",
    "freed": "bytes",
    "files compacted": "compacted_files",
    "of size": "compacted_bytes",
    "rows folded": "folded_rows",
}
"""What is printed of each table, by the heading: the field of its result."""


@click.command(cls=Command)
@click.option("--older-than", default="7d", show_default=True, metavar="DURATION", help="How old a snapshot or file must be to go.")
@click.option("--fold-older-than", metavar="DURATION", help="Drop corrections superseded longer ago; none when left out.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@context.shared
def maintain(older_than: str, fold_older_than: str | None, dry_run: bool) -> None:
    """Make few files of many; drop what nothing needs.

    Old snapshots expire, files that no snapshot reaches go, and many small files of a month become one. What a training
    set was made from is kept, however old.
    """
    age = _age("--older-than", older_than)
    fold = None if fold_older_than is None else _age("--fold-older-than", fold_older_than)
    with context.store() as store:
        done = store.maintain(age, dry_run, fold)
    if context.as_json():
        print_json(done)
        return
    print_table(["table", *COLUMNS], [_row(one) for one in done], right=list(COLUMNS))
    for one in done:
        if one["note"]:
            say(f"[yellow]{escape(one['table'])}[/]: {escape(one['note'])}")
    freed = size(sum(one["bytes"] for one in done))
    said = f"nothing was changed: this was a dry run, and {freed} would be freed" if dry_run else f"{freed} freed"
    say(f"[dim]{plural(len(done), 'table')}, {said}[/]")


def _age(option: str, value: str) -> timedelta:
    try:
        return timedelta(microseconds=durations.microseconds(value))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _row(one: Mapping[str, Any]) -> list[str]:
    shown = {name: size(one[name]) if name.endswith("bytes") else count(one[name]) for name in COLUMNS.values()}
    return [escape(one["table"]), *shown.values()]
