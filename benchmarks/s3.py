"""Each verb on S3 behind a latency, against the same on disk: requests, bytes and seconds."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import data, join
from featurestore import FeatureService, FeatureStore, Settings
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS
from tests import s3
from tests.s3_proxy import KINDS, Counts, distant

LATENCY = 0.02
"""Seconds that each request waits."""
LATE = 1_000
"""Rows that come after the first run."""

Take = Callable[[], Counts]


class World:
    """A store of the benchmark join, and what its verbs leave for one another."""

    def __init__(self, settings: Settings, folder: Path, rows: int) -> None:
        self.settings, self._folder, self._rows = settings, folder, rows
        folder.mkdir(parents=True)
        self._services: Sequence[FeatureService] = []
        self._made = ""

    def prepare(self, store: FeatureStore) -> None:
        self._services = join.add_sources(store, self._folder, self._rows, max(self._rows // 20, 1), join.DAYS)

    def verbs(self) -> dict[str, Callable[[FeatureStore], object]]:
        """What is measured, in this order; each takes a store that was opened for it."""
        return {
            "plan": lambda store: store.plan(self._services),
            "apply": lambda store: store.apply(self._services),
            "materialize, first": lambda store: store.materialize(),
            "materialize, nothing new": lambda store: store.materialize(),
            "materialize, late rows": lambda store: store.materialize(),
            "publish": lambda store: store.publish(),
            "training_set": self._build,
            "rebuild": lambda store: store.rebuild(self._made),
            "maintain": lambda store: store.maintain(older_than=timedelta(0)),
        }

    def before(self, verb: str, store: FeatureStore) -> None:
        """What a verb needs, and is not part of it."""
        if verb == "materialize, late rows":
            late = data.readings(LATE, max(self._rows // 20, 1), join.FEATURES, join.DAYS, seed=0)
            store.catalog.load_table("raw.view0").append(late)

    def _build(self, store: FeatureStore) -> None:
        self._made = store.training_set("endless", pq.read_table(self._folder / "spine.parquet"), "asked_at").id


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """The verbs in their order, each as in a new process: nothing is kept of what was read before. Returns ratios of seconds to disk."""
    table = Table("", *KINDS, "all", "MB up", "MB down", "seconds", "on disk", "ratio", title=f"S3, {LATENCY * 1000:.0f} ms a request")
    ratios: dict[str, float] = {}
    with TemporaryDirectory() as folder, _worlds(Path(folder), rows) as (local, remote, take):
        for world in (local, remote):
            with FeatureStore(settings=world.settings) as store:
                world.prepare(store)
        for verb in local.verbs():
            on_disk, _ = _measure(local, verb, Counts)
            seconds, counts = _measure(remote, verb, take)
            ratios[verb] = seconds / on_disk
            numbers = [str(counts.requests[kind]) for kind in KINDS]
            size = [f"{amount / 1e6:.1f}" for amount in (counts.sent, counts.received)]
            table.add_row(verb, *numbers, str(counts.total), *size, f"{seconds:.2f}", f"{on_disk:.2f}", f"{ratios[verb]:.2f}")
    console.print(table)
    return ratios


@contextmanager
def _worlds(folder: Path, rows: int) -> Iterator[tuple[World, World, Take]]:
    with ExitStack() as stack:
        (folder / "s3").mkdir()
        server = stack.enter_context(s3.apart())
        endpoint, take = stack.enter_context(distant(server, LATENCY))
        remote = Settings(home=folder / "s3", warehouse="s3://lake/bench", catalog=s3.connection(endpoint, folder / "s3"))
        yield World(Settings(home=folder / "disk"), folder / "local", rows), World(remote, folder / "remote", rows), take


def _measure(world: World, verb: str, take: Take) -> tuple[float, Counts]:
    with FeatureStore(settings=world.settings) as store:
        world.before(verb, store)
    for kept in (KEPT, KEPT_COLUMNS):
        kept.clear()
    with FeatureStore(settings=world.settings) as store:
        take()
        began = time.perf_counter()
        world.verbs()[verb](store)
        return time.perf_counter() - began, take()
