"""Reading a training set in its order, against a bare read of its Parquet files, and against sorting them."""

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.join import DAYS, FEATURES, VIEWS, given_views
from benchmarks.timing import Work, in_turns, show
from featurestore import FeatureStore
from featurestore.pipelines.training_sets.training_set import TrainingSet

BARE = "pyarrow, the file"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """The data of `join`. Returns the ratios."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        spine = given_views(home, rows, max(rows // 20, 1), DAYS)
        with FeatureStore(home=home / "store") as store:
            made = store.training_set("endless", spine, "asked_at", label="label")
            (file,) = made.files()
            works: list[tuple[str, Work]] = [
                (BARE, lambda: pq.read_table(file)),
                ("DuckDB, sorted", lambda: _sorted(file)),
                ("to_arrow", made.to_arrow),
                ("to_batches, the first", lambda: next(made.to_batches())),
                ("to_batches, three columns", lambda: sum(batch.num_rows for batch in made.to_batches(columns=made.features[:3]))),
            ]
            if importlib.util.find_spec("torch") is not None:
                works.append(("to_torch, batches of 1,024", lambda: _epoch(made)))
            taken = in_turns(works, rounds)
        return show(console, f"read {rows // 2:,} rows x {VIEWS * FEATURES} features", taken, BARE)


def _sorted(file: str) -> int:
    with duckdb.connect() as connection:
        query = f"SELECT * FROM read_parquet('{file}') ORDER BY __fs_row"
        return sum(batch.num_rows for batch in connection.sql(query).to_arrow_reader(65_536))


def _epoch(made: TrainingSet) -> int:
    return sum(len(batch["__fs_row"]) for batch in made.to_torch())
