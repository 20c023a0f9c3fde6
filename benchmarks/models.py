"""Models against what they are made of: a prediction, batch scoring, logging, and a deep audit."""

import logging
import os
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.alone import alone
from benchmarks.model_serving import measure_serving
from benchmarks.model_world import FEATURES, NAME, ModelWorld, make_spine, make_world
from benchmarks.prediction_log import measure_logs
from benchmarks.timing import in_turns, processor_seconds
from featurestore import FeatureStore, Settings, models

URI = f"models:/{NAME}/1"
LIMIT = "512MB"


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Score `rows` rows, and audit a model of half as many. Returns the ratios by what was measured."""
    # Whoever runs benchmarks does not tell anybody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    table = Table("", "measured", "against", "ratio", "target", title=f"models, {rows:,} rows", title_justify="left")
    ratios: dict[str, float] = {}

    def add(what: str, measured: str, against: str, ratio: float, target: str) -> None:
        ratios[what] = ratio
        table.add_row(what, measured, against, f"{ratio:.2f}", target)

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # MLflow warns about its own code.
        warnings.simplefilter("ignore")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        home = Path(folder)
        world = make_world(home / "store", rows // 2)
        with world.store:
            _audit(world, rounds, add)
            _score(world, rows, rounds, add)
            _log(world, rounds, add)
            _serve(world, home, rounds, add)
        _log_predictions(home / "store", rounds, add)
        _memory(home, rows, add)
    console.print(table)
    return ratios


Add = Callable[[str, str, str, float, str], None]


def _log_predictions(home: Path, rounds: int, add: Add) -> None:
    taken = measure_logs(home, NAME, "key", 4 * rounds)
    for name in ("memory", "file", "fsync"):
        # Not by rounds: what a server does once a second falls into some of them.
        ratio = sum(taken[name]) / sum(taken["off"])
        measured, against = (f"{statistics.mean(taken[one]) * 1e6:.0f} us" for one in (name, "off"))
        add(f"prediction_log, {name}", measured, f"no log {against}", ratio, "" if name == "fsync" else "below 1.1")


def _audit(world: ModelWorld, rounds: int, add: Add) -> None:
    works: list[tuple[str, Callable[[], object]]] = [
        ("rebuild", lambda: world.store.rebuild(world.training_set.id)),
        ("audit --deep", lambda: world.store.audit(URI, deep=True)),
        ("audit", lambda: world.store.audit(URI)),
    ]
    taken = in_turns(works, rounds)
    for name, target in (("audit --deep", "below 1.2"), ("audit", "")):
        add(name, *_compared(taken[name], taken["rebuild"], "the rebuild"), target)


def _score(world: ModelWorld, rows: int, rounds: int, add: Add) -> None:
    spine, store, numbers = make_spine(rows).drop_columns(["label"]), world.store, iter(range(10**6))

    def by_hand() -> object:
        joined = store.point_in_time(NAME, spine, "t")
        return world.model.predict(joined.select(list(FEATURES)).to_pandas())

    works: list[tuple[str, Callable[[], object]]] = [
        ("by hand", by_hand),
        ("score", lambda: models.score(URI, spine, store=store)),
        ("score, log=True", lambda: models.score(URI, spine, log=f"logged {next(numbers)}", store=store)),
        ("score, save=True", lambda: models.score(URI, spine, save=True, run_id=f"saved {next(numbers)}", store=store)),
    ]
    taken = in_turns(works, rounds)
    add("score", *_compared(taken["score"], taken["by hand"], "join and bare predict"), "below 1.3")
    for name in ("score, log=True", "score, save=True"):
        add(name, *_compared(taken[name], taken["score"], "score"), "below 1.5")


def _log(world: ModelWorld, rounds: int, add: Add) -> None:
    from featurestore.models.mlflow_access.mlflow_client import mlflow  # noqa: PLC0415 - a second, for those who benchmark models only

    options: dict[str, Any] = {"pip_requirements": [], "serialization_format": "cloudpickle"}
    works: list[tuple[str, Callable[[], object]]] = [
        ("mlflow", lambda: mlflow.sklearn.log_model(world.model, name="plain", **options)),
        (
            "featurestore",
            lambda: models.log_model(world.model, training_set=world.training_set, name="stamped", store=world.store, **options),
        ),
    ]
    taken = in_turns(works, max(rounds, 5))
    added = statistics.median(ours - theirs for ours, theirs in zip(taken["featurestore"], taken["mlflow"], strict=True))
    costs = {name: statistics.median(processor_seconds(work) for _ in range(max(rounds, 5))) for name, work in works}
    measured, against, ratio = _compared(taken["featurestore"], taken["mlflow"], "mlflow.sklearn.log_model")
    more = f"{added:.2f} s more, {costs['featurestore'] - costs['mlflow']:.2f} s of processors"
    add("log_model", f"{measured}, {more}", against, ratio, "below 0.2 s more")


def _serve(world: ModelWorld, home: Path, rounds: int, add: Add) -> None:
    (ours, mine), (theirs, yours) = measure_serving(world, home, rounds).items()
    add(
        "prediction over HTTP",
        f"{mine:.2f} ms {ours.partition(', ')[2]}",
        f"{yours:.2f} ms: {theirs}",
        yours / mine,
        "above 3 times faster",
    )


def _memory(home: Path, rows: int, add: Add) -> None:
    """The peak memory of a process that scores a spine, and of one that scores four times as many rows."""
    part = _wide(100_000)
    peaks = []
    for times_ in (1, 4):
        path = home / f"{times_}.parquet"
        with pq.ParquetWriter(path, part.schema) as writer:
            for _ in range(times_ * rows // part.num_rows):
                writer.write_table(part)
        peaks.append(alone(partial(_save, home / "store", str(path), f"{times_} times")).peak)
    size = part.nbytes * (4 * rows // part.num_rows) / 1e9
    what, against = f"{peaks[1]:.2f} GB for a spine of {size:.2f} GB", f"{peaks[0]:.2f} GB for a quarter of it"
    add(f"peak of save=True, memory_limit={LIMIT}", what, against, peaks[1] / peaks[0], "below 1.3")


def _wide(rows: int) -> Any:
    """Rows with a text that nothing reads."""
    spine = make_spine(rows).drop_columns(["label"])
    return spine.append_column("note", [[f"{number:0120d}" for number in range(rows)]])


def _save(home: Path, path: str, run_id: str) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with FeatureStore(settings=Settings(home=home, memory_limit=LIMIT)) as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models.score(URI, path, save=True, run_id=run_id, store=store)


def _compared(taken: list[float], others: list[float], what: str) -> tuple[str, str, float]:
    ratio = statistics.median(one / other for one, other in zip(taken, others, strict=True))
    return f"{statistics.median(taken):.2f} s", f"{statistics.median(others):.2f} s: {what}", ratio
