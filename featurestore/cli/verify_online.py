"""`verify-online`: compare the online store with the feature tables."""

from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.values import json_encoding
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.online_comparison import Difference, OnlineComparison


@click.command("verify-online", cls=Command)
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Compare a random sample of N rows of each table; default: all.")
@context.store_options
def verify_online(names: tuple[str, ...], sample: int | None) -> None:
    """Compare the online store with the feature tables.

    Compares all views if no VIEW is named: each online row with the newest row of its key in the table, at the snapshot that was
    published last, bit for bit. Prints the differences and exits with status 1 if there are any.
    """
    with context.store() as store:
        comparisons = store.verify_online(list(names) or None, sample)
    if context.as_json():
        print_json(comparisons)
    else:
        _show(comparisons)
    if not all(comparison.same for comparison in comparisons):
        click.get_current_context().exit(1)


def _show(comparisons: "list[OnlineComparison]") -> None:
    counts = ("rows", "missing", "changed", "extra", "pushed")
    rows = [
        [f"[bold]{escape(comparison.view)}[/]", escape(comparison.table), *(format_count(getattr(comparison, name)) for name in counts)]
        for comparison in comparisons
    ]
    print_table(["view", "table", *counts], rows, right=counts)
    for comparison in comparisons:
        for difference in comparison.differences:
            say(f"[red]{escape(comparison.table)}[/]  {escape(_describe(difference))}")
        more = comparison.missing + comparison.extra + comparison.changed - len({_key(difference) for difference in comparison.differences})
        if more > 0:
            say(f"[red]{escape(comparison.table)}[/]  and {format_count(more)} more")
    if all(comparison.same for comparison in comparisons):
        say("[green]identical, bit for bit[/]")
    else:
        say("run [yellow]featurestore publish --full[/] to replace the online rows with those of the tables")


def _describe(difference: "Difference") -> str:
    """A difference as one line."""
    if difference.what == "changed":
        values = f"online {_text(difference.online)}, in the table {_text(difference.table)}"
        return f"{_key(difference)}  {difference.feature}: {values}"
    return f"{_key(difference)}  {'missing online' if difference.what == 'missing' else 'online, but not in the table'}"


def _key(difference: "Difference") -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in difference.key.items())


def _text(value: Any) -> str:
    return "NULL" if value is None else json_encoding.dumps(value, default=json_encoding.plain).decode()
