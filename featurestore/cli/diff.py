"""`diff`: the differences between two training sets."""

from typing import Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_facts, print_json, print_sql, print_table, say
from featurestore.values.humanize import count


@click.command(cls=Command)
@click.argument("a", metavar="ID|MODEL_URI")
@click.argument("b", metavar="ID|MODEL_URI")
@context.shared
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


def _show(comparison: dict[str, Any]) -> None:
    rows, features = comparison["rows"], comparison["features"]
    facts = {"a": f"{escape(comparison['a'])}, {count(rows['a'])} rows", "b": f"{escape(comparison['b'])}, {count(rows['b'])} rows"}
    facts["rows"] = f"{count(rows['common'])} in both, {count(rows['added'])} added, {count(rows['gone'])} removed"
    for key, word in (("added", "added"), ("gone", "removed")):
        if features[key]:
            facts[f"features {word}"] = escape(", ".join(features[key]))
    print_facts(facts)
    for change in comparison["definitions"]:
        say()
        say(f"[bold]{escape(change.get('view') or change['derived'])}[/]  {escape(str(change['from']))} -> {escape(str(change['to']))}")
        if change["diff"]:
            print_sql(change["diff"], "diff")
    say()
    reasons = list(dict.fromkeys(reason for one in features["common"].values() for reason in one["because"]))
    print_table(
        ["feature", "changed", "share", "PSI", "JS", "because"],
        [
            [
                f"[bold]{escape(name)}[/]",
                count(one["changed"]),
                *(_number(one[key]) for key in ("share", "psi", "js")),
                ", ".join(str(reasons.index(reason) + 1) for reason in one["because"]),
            ]
            for name, one in features["common"].items()
        ],
        right=["changed", "share", "PSI", "JS"],
    )
    for number, reason in enumerate(reasons, 1):
        say(f"{number}  {escape(reason)}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
