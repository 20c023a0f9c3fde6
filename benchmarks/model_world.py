"""A store with a view of thirty features, a training set of them, and models that read them: for the benchmarks of models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, models
from featurestore.pipelines.training_sets.training_set import TrainingSet

FEATURES = tuple(f"f{number}" for number in range(30))
KEYS = 20_000
DAY = 86_400_000_000
TIME = pa.timestamp("us", tz="UTC")
NAME = "measured"
NATIVE = "native"
"""The same model, logged by MLflow alone."""


@dataclass(frozen=True)
class ModelWorld:
    """A store in which NAME version 1 is registered, its training set, and the model as it was fitted."""

    store: FeatureStore
    training_set: TrainingSet
    model: Any


def make_world(folder: Path, rows: int) -> ModelWorld:
    """A training set of so many rows, a model of it that is registered, and the same model without a stamp."""
    # Imported here: the other benchmarks run without scikit-learn.
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415

    store = FeatureStore(home=folder)
    random = np.random.default_rng(1)
    source = {"key": np.arange(KEYS), **{name: random.random(KEYS) for name in FEATURES}, "at": pa.array(np.zeros(KEYS, np.int64), TIME)}
    store.catalog.create_namespace("raw")
    loaded = pa.table(source)
    store.catalog.create_table("raw.profiles", schema=loaded.schema).append(loaded)
    view = FeatureView(
        "profile", Entity("key", keys="key"), Source("profiles", table="raw.profiles", timestamp="at"), features=list(FEATURES)
    )
    store.apply([FeatureService(NAME, features=[view])])
    store.materialize()
    training_set = store.training_set(NAME, spine=make_spine(rows), timestamp="t", label="label")
    frame = training_set.to_pandas().head(10_000)
    model = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(frame[list(FEATURES)], frame["label"])
    models.log_model(model, training_set=training_set, registered_model_name=NAME, store=store, pip_requirements=[])
    return ModelWorld(store, training_set, model)


def make_spine(rows: int) -> pa.Table:
    """Random keys at random times of a year, with a label."""
    random = np.random.default_rng(2)
    times = pa.array(DAY + random.integers(0, 365 * DAY, rows), TIME)
    return pa.table({"key": random.integers(0, KEYS, rows), "t": times, "label": random.random(rows)})
