"""`impact`: what depends on a table or a column."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import note, print_json, print_table, say
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.impact_result import Impact


@click.command(cls=Command)
@click.argument("table")
@click.option("--column", metavar="NAME", help="Only what depends on this column of the table.")
@context.store_options
def impact(table: str, column: str | None) -> None:
    """Show what depends on a table or a column.

    TABLE is a source table such as shop.orders, the path of a source's files, or a feature table such as
    features.customer_orders_v1. Lists views with their features, services, training sets, models and logged predictions. A
    feature is indirect if its values do not come from the column, but a key, a time or a condition does.
    """
    with context.store() as store:
        result = store.impact(table, column)
    if context.as_json():
        print_json(result)
        return
    _show(result)


def _show(result: "Impact") -> None:
    rows = [
        *(["view", f"{view.view} v{view.version}{_old(view.current)}", _features(view.features, view.roles)] for view in result.views),
        *(
            ["service", f"{service.service} v{service.version}{_old(service.current)}", _features(service.features)]
            for service in result.services
        ),
        *(
            ["training set", built.id, ", ".join(filter(None, ["its spine" if built.spine else "", _features(built.features)]))]
            for built in result.training_sets
        ),
        *(["model", _model(model.model, model.version, model.aliases), f"trained on {model.training_set}"] for model in result.models),
        *(
            ["predictions", _model(logged.model, logged.version), f"{format_count(logged.rows)} rows in {logged.table}"]
            for logged in result.predictions
        ),
    ]
    what = result.table if result.column is None else f"{result.table}, column {result.column}"
    if rows:
        print_table(
            ["kind", "depends on it", "how"], [[f"[dim]{kind}[/]", f"[bold]{escape(name)}[/]", escape(how)] for kind, name, how in rows]
        )
    else:
        say(f"[dim]nothing depends on {escape(what)}[/]")
    if result.untraced:
        note(f"[yellow]not traced[/]  {escape(', '.join(result.untraced))}: this release cannot read their stored SQL; apply them again")


def _features(features: Mapping[str, str], roles: Sequence[str] = ()) -> str:
    direct = [name for name, how in features.items() if how == "direct"]
    indirect = [name for name, how in features.items() if how == "indirect"]
    by = ", ".join(role for role in roles if role not in ("value", "rows"))
    parts = [", ".join(direct)] if direct else []
    return "; ".join([*parts, f"indirect{f' ({by})' if by else ''}: {', '.join(indirect)}"]) if indirect else "; ".join(parts)


def _model(name: str, version: str | None, aliases: Sequence[str] = ()) -> str:
    return f"{name}{'' if version is None else f' {version}'}{''.join(f' @{alias}' for alias in aliases)}"


def _old(current: bool) -> str:
    return "" if current else " (not current)"
