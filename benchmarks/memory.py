"""Materialization within a memory limit, against hand-written DuckDB SQL with the same limit; each in a process of its own."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.alone import alone
from benchmarks.materialize import by_hand, given_events, materialize
from featurestore import FeatureStore, Settings

LIMIT = "2GB"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """The events of `materialize`; the peak is the resident memory of the whole process, in GB. Returns the peaks."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        given_events(home / "store", rows).close()
        table = Table("", "seconds", "peak, GB", title=f"materialize {rows:,} events, memory_limit={LIMIT}", title_justify="left")
        peaks: dict[str, float] = {}
        for name, work in (("hand-written SQL", partial(_by_hand, home)), ("featurestore", partial(_materialize, home))):
            costs = [alone(work) for _ in range(rounds)]
            took, peaks[name] = min(cost.seconds for cost in costs), max(cost.peak for cost in costs)
            table.add_row(name, f"{took:.2f}", f"{peaks[name]:.2f}")
        console.print(table)
        return peaks


def _by_hand(home: Path) -> None:
    by_hand(home, memory_limit=LIMIT)


def _materialize(home: Path) -> None:
    materialize(FeatureStore(settings=Settings(home=home / "store", memory_limit=LIMIT)), home / "store")
