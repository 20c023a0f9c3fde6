"""`replay`: a logged prediction, computed again."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.replay_result import Replay


@click.command(cls=Command)
@click.argument("request_id")
@click.option("--row", type=click.IntRange(min=0), help="Number of the record in its request, from 0; default: the first.")
@click.option("--model", metavar="NAME", help="The model that predicted, if requests that differ have the id.")
@click.option("--at", metavar="TIME", help="When it predicted (predicted_at or as_of of the row), if requests that differ have the id.")
@context.store_options
def replay(request_id: str, row: int | None, model: str | None, at: str | None) -> None:
    """Compute a logged prediction again, and compare.

    The features are joined as of the time of the prediction, at the snapshots that its row in inference.<model> names, and the
    same version predicts. REQUEST_ID is the column request_id of that row. Status 1 if anything differs, with the reason.
    """
    with context.store() as store:
        result = store.replay(request_id, row, model, at)
    if context.as_json():
        print_json(result)
    else:
        _show(result)
    if not result.equal:
        click.get_current_context().exit(1)


def _show(result: "Replay") -> None:
    version = "" if result.version is None else f" {result.version}"
    print_facts(
        {
            "model": escape(
                f"{result.model}{version}{'' if result.arm is None else f' @{result.arm}'}{' (shadow)' if result.shadow else ''}"
            ),
            "predicted at": f"{result.predicted_at:%Y-%m-%d %H:%M:%S.%f}Z",
            "row": f"{result.row} of a request with {result.rows}",
            "keys": escape(", ".join(f"{name}={value}" for name, value in result.keys.items())),
            "features as of": f"{result.as_of:%Y-%m-%d %H:%M:%S.%f}Z",
        }
    )
    values = [*result.features, result.prediction]
    print_table(
        ["", "logged", "computed again", ""],
        [
            [
                f"[bold]{escape(value.name)}[/]",
                escape(str(value.logged)),
                escape(str(value.replayed)),
                "sent by the caller" if value.overridden else "" if value.equal else "[red]differs[/]",
            ]
            for value in values
        ],
    )
    for text in result.notes:
        say(escape(text))
    for text in result.why:
        say(f"[red]{escape(text)}[/]")
    if result.equal:
        say("[green]equal[/]")
