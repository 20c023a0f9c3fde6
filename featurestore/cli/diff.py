"""`diff`: the differences between two training sets."""

from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_facts, print_json, print_sql, print_table, say
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.pipelines.training_sets.comparison_result import Comparison


@click.command(cls=Command)
@click.argument("a", metavar="ID|MODEL_URI")
@click.argument("b", metavar="ID|MODEL_URI")
@context.store_options
def diff(a: str, b: str) -> None:
    """Compare two training sets.

    Shows changed definitions, added and removed rows, and for every feature how many values changed, its drift (PSI and
    Jensen-Shannon divergence), and why. A model URI stands for the training set that the model was trained on.
    """
    with context.store() as store:
        comparison = store.compare(a, b)
    if context.as_json():
        print_json(comparison)
        return
    _show(comparison)


def _show(comparison: "Comparison") -> None:
    rows, features = comparison.rows, comparison.features
    facts = {"a": f"{escape(comparison.a)}, {format_count(rows.a)} rows", "b": f"{escape(comparison.b)}, {format_count(rows.b)} rows"}
    facts["rows"] = f"{format_count(rows.common)} in both, {format_count(rows.added)} added, {format_count(rows.gone)} removed"
    for names, word in ((features.added, "added"), (features.gone, "removed")):
        if names:
            facts[f"features {word}"] = escape(", ".join(names))
    print_facts(facts)
    for change in comparison.definitions:
        say()
        say(f"[bold]{escape(change.name)}[/]  {escape(str(change.before))} -> {escape(str(change.after))}")
        if change.diff:
            print_sql(change.diff, "diff")
    say()
    reasons = list(dict.fromkeys(reason for change in features.common.values() for reason in change.because))
    print_table(
        ["feature", "changed", "fraction", "PSI", "JS", "because"],
        [
            [
                f"[bold]{escape(name)}[/]",
                format_count(change.changed),
                *map(_number, (change.share, change.psi, change.js)),
                ", ".join(str(reasons.index(reason) + 1) for reason in change.because),
            ]
            for name, change in features.common.items()
        ],
        right=["changed", "fraction", "PSI", "JS"],
    )
    for number, reason in enumerate(reasons, 1):
        say(f"{number}  {escape(reason)}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
