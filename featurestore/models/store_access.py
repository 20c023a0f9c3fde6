"""What this floor needs of the store's inside, in one place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError
from featurestore.pipelines import lookup
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.spines import reading
from featurestore.store import FeatureStore


def check_store(store: Any) -> None:
    """Raises: RequestError for what is no FeatureStore: features and MLflow are reached from here, not through a server."""
    if store is not None and not isinstance(store, FeatureStore):
        raise RequestError(
            f"store= is {type(store).__name__}, but models need a FeatureStore: they read its catalog and online store themselves. Give"
            " FeatureStore(settings=...) of the same catalog, or leave it out; a server predicts with connect(url).predict(NAME, records)",
            field="store",
        )


@contextmanager
def store_of(training_set: TrainingSet, store: FeatureStore | None) -> Iterator[FeatureStore]:
    """The store given, else the one that the training set reads from, else the configured one."""
    check_store(store)
    if store is not None:
        yield store
        return
    with FeatureStore(settings=training_set.settings) as own:
        yield own


def rows(store: FeatureStore, given: Any, times: Sequence[str]) -> pa.Table:
    """A spine as the caller has it: a frame, Arrow, a list of dicts, a path, an Iceberg table or SQL; `times` are its columns of times."""
    return reading.read_rows(store._runtime, given, times)


def derive(
    store: FeatureStore, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]
) -> list[list[Any]]:
    """The derived features over request fields and looked-up features."""
    return lookup.derive(store._runtime, plan, fields, looked_up)
