"""What a training set costs against its size: rows by views, each in a process of its own, as a table and as a plot beside this file."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import Cost, alone
from benchmarks.join import DAYS, FEATURES
from benchmarks.nested_services import fill_nested
from featurestore import FeatureStore, Settings

VIEWS = (1, 3, 6)
LIMIT = "4GB"
PLOT = Path(__file__).with_suffix(".svg")

Size: TypeAlias = tuple[int, int]
"""Rows of a view, and views."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """A quarter of `rows`, as many, and four times as many, of one, three and six views; a spine of half as many rows.

    Returns the exponents b of a * (rows * views) ** b, fitted to the least cost of each size.
    """
    sizes = [rows * quarters // 4 for quarters in (1, 4, 16)]
    least: dict[Size, Cost] = {}
    for size in sizes:
        with TemporaryDirectory() as folder:
            fill_nested(Path(folder), size, FEATURES, VIEWS)
            pq.write_table(data.spine(size // 2, max(size // 20, 1), DAYS), Path(folder) / "spine.parquet")
            for views in VIEWS:
                costs = [
                    alone(partial(_build, Path(folder), views, f"set{views}_{round_}"), before=partial(_warm_up, Path(folder)))
                    for round_ in range(rounds)
                ]
                least[size, views] = Cost(
                    min(cost.seconds for cost in costs),
                    min(cost.processors for cost in costs),
                    min(cost.peak for cost in costs),
                    min(cost.read for cost in costs),
                )
    exponents = {name: _exponent({size: getattr(cost, name) for size, cost in least.items()}) for name in ("seconds", "processors", "peak")}
    _print(console, least, exponents)
    _plot(least)
    return exponents


def _build(home: Path, views: int, name: str) -> None:
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        store.training_set(f"of{views}", str(home / "spine.parquet"), "asked_at", label="label", name=name)


def _warm_up(home: Path) -> None:
    with FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)) as store:
        store.training_set("of1", data.spine(1, 1, DAYS), "asked_at", label="label", name=f"warm{time.time_ns()}")


def _exponent(measured: Mapping[Size, float]) -> float:
    """The slope of a line through the logarithms, by least squares."""
    sizes = np.log([rows * views for rows, views in measured])
    return float(np.polyfit(sizes, np.log(list(measured.values())), 1)[0])


def _print(console: Console, least: Mapping[Size, Cost], exponents: Mapping[str, float]) -> None:
    title = f"training set: views of so many rows x {FEATURES}, a spine of half as many, memory_limit={LIMIT}"
    table = Table(
        "rows", "views", "rows x views", "seconds", "of processors", "against the smallest", "peak, GB", title=title, title_justify="left"
    )
    (rows, views), smallest = next(iter(least.items()))
    for size, cost in least.items():
        larger = size[0] * size[1] / (rows * views)
        against = cost.processors / smallest.processors
        table.add_row(
            f"{size[0]:,}",
            str(size[1]),
            f"{larger:.0f}",
            f"{cost.seconds:.2f}",
            f"{cost.processors:.2f}",
            f"{against:.1f}",
            f"{cost.peak:.2f}",
        )
    table.add_row("exponent", "", "", *(f"{exponents[name]:.2f}" for name in ("seconds", "processors")), "", f"{exponents['peak']:.2f}")
    console.print(table)


def _plot(least: Mapping[Size, Cost]) -> None:
    """Both axes are logarithmic, so that what is linear has the slope of the dashed line."""
    # Texts as texts, and names that do not change from run to run.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scaling", "font.size": 9}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        seconds = {size: cost.processors for size, cost in least.items()}
        _lines(left, seconds, "seconds of processors")
        ends = [rows * views / 1e6 for rows, views in (min(seconds, key=np.prod), max(seconds, key=np.prod))]
        top = seconds[max(seconds, key=np.prod)]
        left.plot(ends, [top * ends[0] / ends[1], top], linestyle="--", color="0.6", linewidth=1, label="linear")
        left.legend(frameon=False)
        _lines(right, {size: cost.peak for size, cost in least.items()}, "peak memory, GB")
        right.set_yticks([0.25, 0.5, 1, 2, 4])
        figure.savefig(PLOT, metadata={"Date": None})


def _lines(axes: Axes, measured: Mapping[Size, float], what: str) -> None:
    for views in VIEWS:
        line = [(rows * views / 1e6, value) for (rows, count), value in measured.items() if count == views]
        axes.plot(*zip(*line, strict=True), marker="o", markersize=4, linewidth=1.2, label=f"{views} view{'s' if views > 1 else ''}")
    axes.set(xscale="log", yscale="log", xlabel="million feature rows (rows x views)", ylabel=what)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)
