"""`lineage`: what a column, a feature, a training set or a model is computed from, and what is computed from it."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import note, print_json, print_table, say

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.lineage_result import ColumnLineage, LineageNode
    from featurestore.values.arguments import Direction


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--direction",
    type=click.Choice(["up", "down", "both"]),
    default="both",
    show_default=True,
    help="up: what NAME is computed from; down: what is computed from it.",
)
@context.store_options
def lineage(name: str, direction: "Direction") -> None:
    """Show what a feature is computed from, and what from it.

    NAME is a feature as view.feature or service.feature, a column as namespace.table.column or path.column, a training set, or
    a model as models:/name/version. The name of a view, a service, a table or files alone means all of its columns. What is only
    a key, a time or a condition is indirect.
    """
    with context.store() as store:
        result = store.lineage(name, direction)
    if context.as_json():
        print_json(result)
        return
    _show(result)


def _show(result: "ColumnLineage") -> None:
    for side, title in (("up", "computed from"), ("down", "computed from it")):
        if result.direction not in (side, "both"):
            continue
        nodes = [node for node in result.nodes if node.side == side]
        if nodes:
            rows = [[f"[dim]{node.kind}[/]", f"[bold]{escape(_name(node))}[/]", node.dependence, _roles(result, node)] for node in nodes]
            print_table(["kind", title, "how", "used as"], rows)
        else:
            words = "is computed from nothing that is stored" if side == "up" else "has nothing that is computed from it"
            say(f"[dim]{escape(result.name)} {words}[/]")
    if result.untraced:
        note(f"[yellow]not traced[/]  {escape(', '.join(result.untraced))}: this release cannot read their stored SQL; apply them again")


def _name(node: "LineageNode") -> str:
    old = "" if node.current else " (not current)"
    return f"{node.id}{''.join(f' @{alias}' for alias in node.aliases)}{old}"


def _roles(result: "ColumnLineage", node: "LineageNode") -> str:
    """What a source is used as, or what is used in a dependent, over all edges on its side."""
    edges = [edge for edge in result.edges if node.id == (edge.source if node.side == "up" else edge.target)]
    return ", ".join(sorted({role for edge in edges for role in edge.roles}))
