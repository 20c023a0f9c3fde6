"""`compare-traffic`: the logged predictions of a model by alias, version and role, with metrics where labels are given."""

import os
import re
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.traffic_comparison import ArmComparison, Estimate, TrafficComparison

TABLE = re.compile(r"\w+(\.\w+)+(@\d+)?")
SHOWN_CLASSES = 5


@click.command("compare-traffic", cls=Command)
@click.argument("name", metavar="MODEL")
@click.option("--since", metavar="TIME", help="Only predictions from this time on.")
@click.option("--labels", metavar="ROWS", help="Labels: a table namespace.name, a SELECT, or a Parquet or CSV file.")
@click.option("--label", metavar="COLUMN", help="The column of the labels with the label.")
@click.option("--timestamp", metavar="COLUMN", help="The column of the labels with their time: a prediction gets the next one of its keys.")
@context.store_options
def compare_traffic(name: str, since: str | None, labels: str | None, label: str | None, timestamp: str | None) -> None:
    """Compare the aliases that receive a model's traffic.

    Logged predictions are counted and summarized by alias, version, and whether they were a shadow's. With labels, each has
    metrics: AUC and log loss of probabilities, MAE and RMSE of numbers, accuracy of classes. Intervals are of 95 %.
    """
    with context.store() as store:
        comparison = store.compare_traffic(name, since, _source(labels), label, timestamp)
    if context.as_json():
        print_json(comparison)
        return
    _show(comparison)


def _source(labels: str | None) -> Any:
    """A table without `iceberg:`, which no file is called like; everything else as a store takes it."""
    if labels is not None and TABLE.fullmatch(labels) and not os.path.exists(labels):
        return f"iceberg:{labels}"
    return labels


def _show(comparison: "TrafficComparison") -> None:
    if not comparison.arms:
        say(f"{escape(comparison.model)}: no predictions are logged; see the setting prediction_log")
        return
    names = list(dict.fromkeys(name for arm in comparison.arms for name in arm.metrics))
    columns = ("alias", "version", "rows", "prediction", *(["labeled", *names] if comparison.labels else []))
    print_table(columns, [_row(arm, names if comparison.labels else None) for arm in comparison.arms], right=("rows", "labeled"))
    if comparison.labels:
        say(f"[dim]labels matched {escape(comparison.labels)}[/]")


def _row(arm: "ArmComparison", metrics: list[str] | None) -> list[str]:
    alias = (arm.arm or "–") + (" (shadow)" if arm.shadow else "")
    row = [escape(alias), arm.version or "–", f"{arm.rows:,}", escape(_distribution(arm))]
    if metrics is None:
        return row
    return [*row, f"{arm.labeled:,}", *(_estimate(arm.metrics[name]) if name in arm.metrics else "–" for name in metrics)]


def _distribution(arm: "ArmComparison") -> str:
    if arm.mean is not None:
        low, middle, high = (arm.quantiles[at] for at in ("0.05", "0.5", "0.95"))
        return f"mean {_estimate(arm.mean)}, 5 % {low:.4g}, median {middle:.4g}, 95 % {high:.4g}"
    shown = [f"{name} {share.value:.1%}" for name, share in list(arm.shares.items())[:SHOWN_CLASSES]]
    return ", ".join([*shown, *(["..."] if len(arm.shares) > SHOWN_CLASSES else [])])


def _estimate(estimate: "Estimate") -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g} ({estimate.low:.4g} to {estimate.high:.4g})"
