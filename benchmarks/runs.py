"""What a first run costs on one machine against rows, keys and views, each in a process of its own."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import alone
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg

DAYS = 147


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """count, sum, mean and max over 7 days on a daily grid: 200, ten and two events a key, a quarter and four times the rows, three views.

    Returns the microseconds of processors per event and view.
    """
    sizes = [(rows // 4, 200, 1), (rows, 200, 1), (rows * 4, 200, 1), (rows, 10, 1), (rows, 2, 1), (rows, 200, 3)]
    table = Table("events", "a key", "views", "seconds", "of processors", "µs per event and view", "peak, GB", title="a first run")
    costs: dict[str, float] = {}
    for count, of_key, views in sizes:
        found = []
        for _ in range(rounds):
            with TemporaryDirectory() as home:
                _fill(Path(home), count, count // of_key, views)
                found.append(alone(partial(_materialize, Path(home))))
        least = min(found, key=lambda cost: cost.processors)
        each = costs[f"{count}, {of_key} a key, {views} views"] = least.processors / count / views * 1e6
        shown = (f"{least.seconds:.1f}", f"{least.processors:.1f}", f"{each:.2f}", f"{least.peak:.2f}")
        table.add_row(f"{count:,}", str(of_key), str(views), *shown)
    console.print(table)
    return costs


def _fill(home: Path, rows: int, keys: int, views: int) -> None:
    events = data.events(rows, keys, DAYS)
    entity, source = Entity("customer", keys="key"), Source("events", table="raw.events", timestamp="event_time")
    features = {
        "n": agg.count(over="7d"),
        "sum": agg.sum("value", over="7d"),
        "mean": agg.mean("value", over="7d"),
        "top": agg.max("value", over="7d"),
    }
    with FeatureStore(settings=Settings(home=home)) as store:
        store.catalog.create_namespace("raw")
        store.catalog.create_table("raw.events", schema=events.schema).append(events)
        services = []
        for number in range(views):
            view = FeatureView(f"v{number}", entity=entity, source=source, every="1d", features=features)
            services.append(FeatureService(f"s{number}", features=[view]))
        store.apply(services)


def _materialize(home: Path) -> None:
    with FeatureStore(settings=Settings(home=home)) as store:
        store.materialize()
