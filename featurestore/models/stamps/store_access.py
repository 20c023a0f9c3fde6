"""The private parts of the store that this package uses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from featurestore import verbs
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError
from featurestore.pipelines.online_lookup import lookup
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records.runtime import Runtime
from featurestore.spines import reading
from featurestore.store import FeatureStore


def check_store(store: Any) -> None:
    """Raises: RequestError if `store` is not a FeatureStore, such as a client of a server."""
    if store is not None and not isinstance(store, FeatureStore):
        raise RequestError(
            f"store= is {type(store).__name__}, but models need a FeatureStore: they read its catalog and online store themselves. Pass"
            " FeatureStore(settings=...) with the same catalog, or nothing; a server predicts with connect(url).predict(NAME, records)",
            field="store",
        )


@contextmanager
def store_of(training_set: TrainingSet, store: FeatureStore | None) -> Iterator[FeatureStore]:
    """The store to use: `store`, else one with the settings of the training set."""
    check_store(store)
    if store is not None:
        yield store
        return
    with FeatureStore(settings=training_set.settings) as new_store:
        yield new_store


def runtime_of(store: FeatureStore) -> Runtime:
    """The runtime of a store."""
    return store._runtime


def read_spine_rows(store: FeatureStore, spine: Any, times: Sequence[str]) -> pa.Table:
    """Read the rows of a spine: a frame, Arrow, a list of dicts, a path, an Iceberg table or SQL; `times` are its time columns."""
    return reading.read_rows(store._runtime, spine, times)


@contextmanager
def open_spine(store: FeatureStore, spine: Any, times: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
    """As `read_spine_rows`, as a stream."""
    with reading.open_rows(store._runtime, spine, times) as (rows, _):
        yield rows.to_reader() if isinstance(rows, pa.Table) else rows


@contextmanager
def open_join(
    store: FeatureStore, plan: ServicePlan, rows: Any, timestamp: str, known: Any, snapshots: Mapping[str, int | None]
) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """The number of rows, and the rows with their features as of their times, as a stream; what is larger than memory is kept on disk."""
    request = verbs.JoinRequest.of(plan.service, rows, timestamp, known=known, snapshots=snapshots)
    pinned = verbs.pin(store._runtime, plan, request.snapshots)
    spine = verbs.read_spine(store._runtime, request, plan, pinned)
    with verbs.join_pinned(store._runtime, plan, spine, pinned, request.known) as joined:
        yield spine.rows, joined.batches


def tagged_snapshots(store: FeatureStore, plan: ServicePlan, tag: str) -> dict[str, int | None]:
    """The snapshots of a plan's feature tables that a tag (`@name`) stands for. Raises: NotFound; Conflict."""
    return {name: at.snapshot_id for name, at in verbs.pin(store._runtime, plan, tag).items()}


def derive_features(
    store: FeatureStore, plan: ServicePlan, fields: Mapping[str, Sequence[Any]], looked_up: Sequence[Sequence[Any]]
) -> list[list[Any]]:
    """Compute the derived features from request fields and looked-up features."""
    return lookup.derive(store._runtime, plan, fields, looked_up)
