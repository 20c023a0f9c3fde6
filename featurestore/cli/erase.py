"""`erase` and `erasures`: remove a key from everything that the store keeps, and the certificates of that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import note, print_json, print_table, say
from featurestore.values.humanize import format_count, format_plural

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.erasure_result import Erasure


@click.command(cls=Command)
@click.argument("entity")
@click.argument("key", nargs=-1, required=True, metavar="VALUE|KEY=VALUE...")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--by", metavar="NAME", help="Who asks for it; it is recorded. Default: the user, or with --url the principal.")
@context.store_options
def erase(entity: str, key: Sequence[str], dry_run: bool, yes: bool, by: str | None) -> None:
    """Erase the rows of an entity's key from everything.

    As in erase customer 42: from every snapshot of feature tables, training sets, logged predictions, statistics and the online
    store. It cannot be undone. What is not the store's, such as source tables, is listed; then the exit status is 1.
    """
    if context.as_json() and not (yes or dry_run):
        raise click.UsageError("--json cannot ask for confirmation; add --yes or --dry-run")
    values = _parse_key(key)
    with context.store() as store:
        if not (yes or dry_run):
            planned = store.erase(entity, values, dry_run=True)
            _show(planned)
            click.confirm("erase them? This cannot be undone.", abort=True, err=True)
        erased = store.erase(entity, values, dry_run=dry_run, by=by)
    if context.as_json():
        print_json(erased)
    else:
        _show(erased)
    if not dry_run and not erased.complete:
        click.get_current_context().exit(1)


@click.command(cls=Command)
@context.store_options
def erasures() -> None:
    """List the certificates of erasures."""
    with context.store() as store:
        found = store.erasures()
    if context.as_json():
        print_json(found)
        return
    rows = [
        [str(one.number), escape(one.entity), one.key_digest[:12], f"{one.at:%Y-%m-%d %H:%M:%S}Z", escape(one.by or "–"), _state(one)]
        for one in found
    ]
    if rows:
        print_table(["erasure", "entity", "key digest", "at", "by", "state"], rows, right=["erasure"])
    else:
        say("[dim]nothing was erased[/]")


def _parse_key(texts: Sequence[str]) -> Any:
    """The value of the only key column, or the values by column."""
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    pairs = [text.partition("=") for text in texts]
    if not all(separator and name for name, separator, _ in pairs):
        raise click.UsageError("give the value of the key column, or KEY=VALUE for each key column")
    return {name: value for name, _, value in pairs}


def _show(erased: "Erasure") -> None:
    word = "would erase" if erased.number is None else f"erasure {erased.number}"
    total = sum(table.rows for table in erased.tables)
    say(f"[green]{word}[/]  {format_plural(total, 'row')} of {format_plural(len(erased.tables), 'table')}")
    rows = [[escape(table.table), format_count(table.rows), str(table.files), str(table.snapshots)] for table in erased.tables]
    if rows:
        print_table(["table", "rows", "files", "snapshots"], rows, right=["rows", "files", "snapshots"])
    for one in erased.training_sets:
        models = f"; trained on it: {', '.join(one.models)}" if one.models else ""
        say(f"training set {escape(one.id)}: {format_plural(one.rows, 'row')}{escape(models)}")
    for place in erased.remaining:
        note(f"[yellow]remaining[/]  {escape(place)}")


def _state(erased: "Erasure") -> str:
    return "complete" if erased.complete else f"{len(erased.remaining)} remaining" if erased.finished else "interrupted"
