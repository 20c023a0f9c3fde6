"""What a run, a join and a plan cost after many runs, as a table and as a plot beside this file; and the verbs on 200 views."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.timing import processor_seconds, seconds
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg

RUNS = 1000
YOUNG = 10
KEYS, DAILY = 200, 200
START = datetime(2022, 1, 1, tzinfo=UTC)
VIEWS, FEATURES, SOURCES = 200, 20, 4
REPEATS = 5
PLOT = Path(__file__).with_suffix(".svg")
VERBS = ("run", "join", "plan")
OWNED = {
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}
"""How the owner of the source keeps its metadata few."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """A daily run for each thousand of `rows`, so 1,000 for a million, and then more in turns with a store of ten runs.

    Returns the ratios of the old store to the young one, by verb, and the seconds of the verbs on many views.
    """
    runs = max(rows * RUNS // 1_000_000, 2 * YOUNG)
    with TemporaryDirectory() as folder:
        old, young = _Life(Path(folder) / "old"), _Life(Path(folder) / "young")
        taken = [old.live_a_day() for _ in range(runs)]
        points = {age: _costs(taken[max(age - YOUNG, 0) : age]) for age in sorted({YOUNG, runs // 10, runs}) if age >= YOUNG}
        for _ in range(YOUNG):
            young.live_a_day()
        ratios = _compare(old, young, rounds * REPEATS)
        _print(console, points, ratios, old, young)
        old.close()
        young.close()
    _plot(taken)
    with TemporaryDirectory() as folder:
        return ratios | _many_views(console, Path(folder))


class _Life:
    """A store with one view, which is materialized every day, after its source was appended to."""

    def __init__(self, home: Path) -> None:
        self.store = FeatureStore(home=home)
        self.store.catalog.create_namespace("raw")
        self.source = self.store.catalog.create_table("raw.events", schema=_events(0).schema, properties=OWNED)
        events = Source("events", table="raw.events", timestamp="at")
        features = {"n": agg.count(over=["1d", "7d", "30d"]), "total": agg.sum("amount", over=["7d", "30d"])}
        view = FeatureView("activity", entity=Entity("thing", keys="key"), source=events, every="1d", features=features)
        self.definitions = [FeatureService("service", features=[view])]
        self.store.apply(self.definitions)
        self.days = 0

    def live_a_day(self) -> tuple[float, float, float]:
        """The seconds of the run of a day, and every tenth day those of a join and of a plan, which else are NaN."""
        self.source.append(_events(self.days))
        if self.days % 20 == 0:
            ids = [snapshot.snapshot_id for snapshot in sorted(self.source.snapshots(), key=lambda snapshot: snapshot.timestamp_ms)]
            if len(ids) > 20:
                self.source.maintenance.expire_snapshots().by_ids(ids[:-20]).commit()
        self.days += 1
        took = seconds(self.materialize)
        return (took, seconds(self.join), seconds(self.plan)) if self.days % 10 == 0 else (took, float("nan"), float("nan"))

    def materialize(self) -> None:
        self.store.materialize(end=START + timedelta(days=self.days))

    def join(self) -> None:
        """The same spine at each age, of the first days."""
        at = pa.array([START + timedelta(days=YOUNG)] * KEYS, pa.timestamp("us", tz="UTC"))
        spine = pa.table({"key": pa.array(range(KEYS), pa.int64()), "asked_at": at})
        self.store.training_set("service", spine, timestamp="asked_at", name=f"set{time.time_ns()}")

    def plan(self) -> None:
        self.store.plan(self.definitions)

    def counts(self) -> dict[str, int]:
        """The files, manifests and snapshots of the feature table."""
        table = self.store.catalog.load_table("features.activity_v1")
        current = table.current_snapshot()
        manifests = 0 if current is None else len(current.manifests(table.io))
        return {"files": len(table.inspect.files()), "manifests": manifests, "snapshots": len(table.snapshots())}

    def close(self) -> None:
        self.store.close()


def _events(day: int) -> pa.Table:
    random = np.random.default_rng(day)
    at = [START + timedelta(days=day, seconds=int(second)) for second in np.sort(random.integers(0, 86_400, DAILY))]
    return pa.table(
        {
            "key": pa.array(random.integers(0, KEYS, DAILY), pa.int64()),
            "amount": pa.array(random.random(DAILY)),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
        }
    )


def _costs(taken: list[tuple[float, float, float]]) -> list[float]:
    return [float(np.nanmedian(column)) for column in zip(*taken, strict=True)]


def _compare(old: _Life, young: _Life, rounds: int) -> dict[str, float]:
    """The processor time of each verb in the old store against the young one, in turns."""
    taken: dict[str, list[list[float]]] = {verb: [[], []] for verb in VERBS}
    for _ in range(rounds):
        for index, life in enumerate((old, young)):
            life.source.append(_events(life.days))
            life.days += 1
            for verb, work in zip(VERBS, (life.materialize, life.join, life.plan), strict=True):
                taken[verb][index].append(processor_seconds(work))
    return {verb: statistics.mean(of_old) / statistics.mean(of_young) for verb, (of_old, of_young) in taken.items()}


def _print(console: Console, points: dict[int, list[float]], ratios: dict[str, float], old: _Life, young: _Life) -> None:
    title = f"seconds by the number of runs: {DAILY} events a day of {KEYS} keys"
    table = Table("runs", *VERBS, title=title, title_justify="left")
    for age, costs in points.items():
        table.add_row(f"{age:,}", *(f"{cost:.3f}" for cost in costs))
    ages = f"{max(points):,} / {YOUNG}"
    table.add_row(f"{ages}, processor time in turns", *(f"{ratios[verb]:.2f}" for verb in VERBS))
    console.print(table)
    for name, life in (("old", old), ("young", young)):
        console.print(f"the {name} feature table has", ", ".join(f"{count} {what}" for what, count in life.counts().items()))


def _many_views(console: Console, home: Path) -> dict[str, float]:
    """The seconds of the verbs on many views, each first and again."""
    random = np.random.default_rng(1)
    at = [START + timedelta(minutes=int(minute)) for minute in random.integers(0, 100_000, 1000)]
    columns = {f"c{number}": pa.array(random.random(1000)) for number in range(FEATURES)}
    rows = pa.table({"key": pa.array(random.integers(0, 100, 1000)), "at": pa.array(at, pa.timestamp("us", tz="UTC")), **columns})
    entity = Entity("thing", keys="key")
    sources = [Source(f"readings{number}", table=f"raw.readings{number}", timestamp="at") for number in range(SOURCES)]
    views = [
        FeatureView(
            f"view{number}",
            entity=entity,
            source=sources[number % SOURCES],
            every="1d",
            features={f"v{number}_{column}": agg.sum(f"{column} * {number + 1}", over="30d") for column in columns},
        )
        for number in range(VIEWS)
    ]
    with FeatureStore(home=home) as store:
        store.catalog.create_namespace("raw")
        for source in sources:
            store.catalog.create_table(str(source.table), schema=rows.schema).append(rows)
        end = START + timedelta(days=80)
        verbs: dict[str, Callable[[], object]] = {
            "plan of new views": lambda: store.plan(views),
            "apply of new views": lambda: store.apply(views),
            "plan, unchanged": lambda: store.plan(views),
            "apply, unchanged": lambda: store.apply(views),
            "materialize": lambda: store.materialize(end=end),
            "materialize, unchanged": lambda: store.materialize(end=end),
        }
        taken = {name: seconds(verb) for name, verb in verbs.items()}
    table = Table("", "seconds", title=f"{VIEWS} views of {FEATURES} features, over {SOURCES} tables", title_justify="left")
    for name, took in taken.items():
        table.add_row(name, f"{took:.1f}")
    console.print(table)
    return taken


def _plot(taken: list[tuple[float, float, float]]) -> None:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "life", "font.size": 9}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots()
        for verb, column in zip(VERBS, zip(*taken, strict=True), strict=True):
            measured = [(number, cost) for number, cost in enumerate(column, 1) if not np.isnan(cost)]
            step = max(len(measured) // 100, 1)
            # Medians, since a machine does other things too.
            parts = [measured[at : at + step] for at in range(0, len(measured), step)]
            points = [(part[0][0], statistics.median(cost for _, cost in part)) for part in parts]
            axes.plot(*zip(*points, strict=True), linewidth=1.2, label=verb)
        axes.set(xlabel="runs", ylabel="seconds")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        figure.savefig(PLOT, metadata={"Date": None})
