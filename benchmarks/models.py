"""A deep audit of a model, against the rebuild of its training set alone: what the other links of the chain cost."""

import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, models
from featurestore.pipelines.training_sets.training_set import TrainingSet

FEATURES = 10
KEYS = 20_000
DAY = 86_400_000_000
TIME = pa.timestamp("us", tz="UTC")


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Half as many rows in the training set as `rows`, paired rounds. Returns the seconds of an audit against those of a rebuild."""
    # Whoever runs benchmarks does not tell anybody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    table = Table("", "seconds", "against a rebuild", title=f"audit of a model trained on {rows // 2:,} rows", title_justify="left")
    with TemporaryDirectory() as folder, FeatureStore(home=Path(folder)) as store, warnings.catch_warnings():
        # MLflow warns about its own code.
        warnings.simplefilter("ignore")
        training_set = _train(store, rows // 2)
        works: dict[str, Callable[[], object]] = {
            "rebuild": lambda: store.rebuild(training_set.id),
            "audit --deep": lambda: store.audit("models:/audited/1", deep=True),
            "audit": lambda: store.audit("models:/audited/1"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for counted in range(rounds + 1):
            for name, work in works.items():
                started = time.perf_counter()
                work()
                if counted:
                    seconds[name].append(time.perf_counter() - started)
    ratios = {name: statistics.median(a / b for a, b in zip(taken, seconds["rebuild"], strict=True)) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        table.add_row(name, f"{statistics.median(taken):.2f}", f"{ratios[name]:.2f}")
    console.print(table)
    return ratios


def _train(store: FeatureStore, rows: int) -> TrainingSet:
    """A training set of so many rows, and a model of it that is registered."""
    # Imported here: the other benchmarks run without scikit-learn.
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415

    random = np.random.default_rng(1)
    names = [f"f{number}" for number in range(FEATURES)]
    source = {"key": np.arange(KEYS), **{name: random.random(KEYS) for name in names}, "at": pa.array(np.zeros(KEYS, np.int64), TIME)}
    store.catalog.create_namespace("raw")
    loaded = pa.table(source)
    store.catalog.create_table("raw.profiles", schema=loaded.schema).append(loaded)
    view = FeatureView(
        "profile", entity=Entity("key", keys="key"), source=Source("profiles", table="raw.profiles", timestamp="at"), features=names
    )
    store.apply([FeatureService("audited", features=[view])])
    store.materialize()
    spine = pa.table(
        {
            "key": random.integers(0, KEYS, rows),
            "t": pa.array(DAY + random.integers(0, 365 * DAY, rows), TIME),
            "label": random.random(rows),
        }
    )
    training_set = store.training_set("audited", spine=spine, timestamp="t", label="label")
    frame = training_set.to_pandas().head(1000)
    model = LinearRegression().fit(frame[names], frame["label"])
    models.log_model(model, training_set=training_set, registered_model_name="audited", store=store, pip_requirements=[])
    return training_set
