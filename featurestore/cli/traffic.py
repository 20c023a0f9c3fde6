"""`traffic`: how the requests to a model are split among aliases, shown or set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_json, print_table, say
from featurestore.errors import RequestError, brief

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.traffic_result import Traffic


@click.command(cls=Command)
@click.argument("name", metavar="MODEL")
@click.argument("weights", nargs=-1, metavar="[ALIAS=PERCENT]...")
@click.option("--shadow", multiple=True, metavar="ALIAS", help="An alias that is also scored, but never returned; repeatable.")
@click.option("--remove", is_flag=True, help="Remove the split: the approved version answers again.")
@click.option("--approver", metavar="NAME", help="Who decides this; it is recorded. Default: the user, or with --url the principal.")
@click.option("--reason", metavar="TEXT", help="Why; it is recorded.")
@context.store_options
def traffic(name: str, weights: Sequence[str], shadow: Sequence[str], remove: bool, approver: str | None, reason: str | None) -> None:
    """Split the requests to a model among its aliases.

    As in champion=90 challenger=10: each record of a request goes to one alias, by a hash of its entity keys. All servers
    follow within a second. Without percentages, the split and its history are shown.
    """
    if remove and (weights or shadow):
        raise click.UsageError("--remove takes neither percentages nor --shadow")
    if not weights and not remove and (shadow or approver or reason):
        raise click.UsageError("give percentages, such as champion=100, or --remove")
    changed = bool(weights) or remove
    with context.store() as store:
        if changed:
            current = store.set_traffic(name, _parse_weights(weights), tuple(shadow), approver=approver, reason=reason)
        else:
            current = store.traffic(name)
    if context.as_json():
        print_json(current)
        return
    _show(current, changed)


def _parse_weights(weights: Sequence[str]) -> dict[str, float]:
    """The percentages by alias. Raises: RequestError."""
    percentages: dict[str, float] = {}
    for text in weights:
        alias, equals, percent = text.rpartition("=")
        try:
            number = float(percent)
        except ValueError:
            number = None
        if not equals or not alias or number is None:
            raise RequestError(f"{brief(text)} is not an alias with a percentage, such as champion=90", field="weights")
        if alias in percentages:
            raise RequestError(f"the alias {brief(alias)} is given twice", field="weights")
        percentages[alias] = number
    return percentages


def _show(current: "Traffic", changed: bool) -> None:
    if not current.weights:
        say(f"{escape(current.model)}: requests are not split; the approved version answers")
    else:
        rows = [(escape(alias), f"{weight:g} %", escape(current.versions[alias])) for alias, weight in current.weights.items()]
        rows += [(escape(alias), "shadow", escape(current.versions[alias])) for alias in current.shadow]
        print_table(("alias", "requests", "version when set"), rows, right=("requests",))
        say(f"[dim]by {escape(', '.join(current.keys) or 'no key: one alias answers all')}[/]")
    if changed:
        say("[green]recorded[/]  servers follow within a second")
        return
    if current.history:
        say()
        print_table(
            ("since", "until", "requests", "by", "why"),
            [
                (
                    moment(period["since"]),
                    moment(period["until"]),
                    escape(", ".join(f"{alias}={weight:g}" for alias, weight in period["weights"].items()) or "not split")
                    + escape("".join(f", {alias} beside" for alias in period["shadow"])),
                    escape(period["approver"] or "–"),
                    escape(period["reason"] or "–"),
                )
                for period in (period.to_dict() for period in current.history)
            ],
        )
