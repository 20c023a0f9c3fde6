"""`diff`: what one training set has otherwise than another."""

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

    Definitions that changed, rows that came and went, and for every feature how many values changed, how far it drifted
    (PSI and Jensen-Shannon divergence), and why. A model's URI stands for the training set it carries.
    """
    with context.store() as store:
        found = store.compare(a, b)
    if context.as_json():
        print_json(found)
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    rows, features = found["rows"], found["features"]
    facts = {"a": f"{escape(found['a'])}, {count(rows['a'])} rows", "b": f"{escape(found['b'])}, {count(rows['b'])} rows"}
    facts["rows"] = f"{count(rows['common'])} in both, {count(rows['added'])} added, {count(rows['gone'])} gone"
    for word in ("added", "gone"):
        if features[word]:
            facts[f"features {word}"] = escape(", ".join(features[word]))
    print_facts(facts)
    for one in found["definitions"]:
        say()
        say(f"[bold]{escape(one.get('view') or one['derived'])}[/]  {escape(str(one['from']))} became {escape(str(one['to']))}")
        if one["diff"]:
            print_sql(one["diff"], "diff")
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
