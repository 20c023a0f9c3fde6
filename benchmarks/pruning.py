"""How much of two years of history is read for a spine of one week."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.alone import alone
from benchmarks.join import FEATURES, VIEWS, given_views
from featurestore import FeatureStore

DAYS = 730
START = data.START - DAYS * data.DAY
WEEKS = {"within a month": 374, "over the end of a month": 391}
"""The first day of each."""
EVERY = {"a day": DAYS, "less than four days": 200}
"""How often a key has a row, by chance, and how many it has in all."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Each join in a fresh process: the bytes it asks files for, of those that the feature tables' files have. Returns the shares.

    Without a ttl, rows are needed from as far back as the longest time that a key has had none.
    """
    title = f"one week of {DAYS} days, {VIEWS} views of {rows:,} rows x {FEATURES}"
    table = Table("week", "a row of a key in", "ttl", "read, MB", "of all", title=title, title_justify="left")
    shares: dict[str, float] = {}
    for often, a_key in EVERY.items():
        with TemporaryDirectory() as folder:
            home, keys = Path(folder), max(rows // a_key, 1)
            given_views(home, rows, keys, DAYS, START)
            for service, prefix, ttl in (("week", "week", "7d"), ("endless", "view", "none")):
                whole = sum(path.stat().st_size for path in (home / "store").rglob(f"{prefix}*_v1/data/**/*.parquet"))
                nothing = alone(partial(_join, home, service, rows, keys, None)).read
                for name, first in WEEKS.items():
                    read = min(alone(partial(_join, home, service, rows, keys, first)).read for _ in range(rounds)) - nothing
                    shares[f"{service}, {often}, {name}"] = read / whole
                    table.add_row(name, often, ttl, f"{read / 1e6:.1f}", f"{read / whole:.1%}")
    console.print(table)
    return shares


def _join(home: Path, service: str, rows: int, keys: int, first: int | None) -> None:
    """A spine of the week that begins on this day; None: without rows, to see what is read beside the feature tables' files."""
    start = START + (first or 0) * data.DAY
    spine = data.spine(rows // 20 if first is not None else 0, keys, 7, start=start)
    with FeatureStore(home=home / "store") as store:
        store.point_in_time(service, spine, "asked_at")
