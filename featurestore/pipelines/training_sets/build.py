"""Build, store, find and list training sets."""

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from featurestore.access.owners import record_owner
from featurestore.access.privileges import Kind, Securable
from featurestore.compiler.point_in_time import ROW
from featurestore.errors import Conflict, NotFound
from featurestore.joins.pinned import join_pinned
from featurestore.lakehouse import tables, tags, writes
from featurestore.lakehouse.table import Table
from featurestore.pipelines.lineage_events.datasets import training_set_datasets
from featurestore.pipelines.lineage_events.run_report import report_run
from featurestore.pipelines.training_sets import build_tags, feature_statistics, manifest, splits
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.pipelines.training_sets.observer import OnRowsWritten, RowObserver
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.pipelines.training_sets.split_assignment import SplitAssigner, open_split_assigner
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.pipelines.training_sets.training_set import TrainingSet, manifest_json
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import MANIFEST, TAG, require_same_set_policies


@dataclass(frozen=True)
class StoredTrainingSet:
    """A training set in its table, of which no row was read: whoever may build one may not be allowed to read it."""

    manifest: dict[str, Any]
    table: Table
    snapshot_id: int

    def open(self, runtime: Runtime) -> TrainingSet:
        """The training set. Raises: Forbidden for a reader without a right on its table, or under other policies than it was made under."""
        require_same_set_policies(runtime, self.manifest)
        stored = self.rows(runtime)
        statistics = partial(feature_statistics.load_or_measure, runtime, self.manifest, stored)
        return TrainingSet(self.manifest, stored.read, stored.files, statistics, runtime.settings)

    def rows(self, runtime: Runtime) -> StoredRows:
        """Its rows. Raises: as `open`."""
        granted = runtime.reader.grant(self.table, runtime.reader.permit("TABLE", self.table.name))
        return StoredRows(runtime, granted, self.snapshot_id, tuple(column["name"] for column in self.manifest["columns"]))


def build_training_set(runtime: Runtime, prepared: PreparedTrainingSet, on_rows_written: OnRowsWritten | None = None) -> StoredTrainingSet:
    """Join, store and tag a training set. If one with the same id exists, return it.

    `on_rows_written` is called with the number of rows written so far.
    """
    started = time.monotonic()
    existing_table = tables.find(runtime.catalog, set_table(runtime, prepared.request.name))
    if existing_table is not None and (existing := _stored_in(existing_table, prepared.id)) is not None:
        return existing
    with report_run(runtime, f"training_set.{prepared.request.name}", "TRAINING_SET") as report:
        stored = _join_and_store(runtime, prepared, existing_table, on_rows_written, started)
        report.complete(lambda: training_set_datasets(runtime, stored.manifest))
    return stored


def _join_and_store(
    runtime: Runtime,
    prepared: PreparedTrainingSet,
    existing_table: Table | None,
    on_rows_written: OnRowsWritten | None,
    started: float,
) -> StoredTrainingSet:
    """Build a new training set; `started` is the monotonic time at which that began."""
    identifier = set_table(runtime, prepared.request.name)
    with (
        build_tags.tag_snapshots(runtime, prepared, identifier),
        join_pinned(runtime, prepared.plan, prepared.spine, prepared.pinned, prepared.request.known) as joined,
        open_split_assigner(runtime, prepared.request.split, prepared.spine.timestamp) as assigner,
        _observe(runtime, prepared, joined.schema, assigner) as observer,
    ):

        def summary() -> dict[str, str]:
            seconds = round(prepared.seconds + time.monotonic() - started, 3)
            entries = {**manifest.describe_join(prepared, joined), **observer.results()}
            entries.update(seconds=seconds, peak_memory_bytes=manifest.peak_memory())
            return {MANIFEST: manifest_json(entries)}

        added = [pa.field(ROW, pa.int64()), *([] if assigner is None else [pa.field(splits.PART, pa.string())])]
        schema = pa.schema([*joined.schema, *added])
        reader = pa.RecordBatchReader.from_batches(schema, observer.number_rows(joined.batches, schema, on_rows_written))
        table, created = (existing_table, False) if existing_table else tables.load_or_create(runtime.catalog, identifier, schema)
        if created:
            record_owner(runtime, [Securable(Kind.TABLE, identifier)])
        try:
            writes.replace_rows(table, reader, summary=summary, tag=TAG + prepared.id)
        except Conflict:
            # Another build of the same request committed first.
            if not has_training_set(runtime, prepared.id):
                raise
    stored = _stored_in(table, prepared.id) or _get_stored(runtime, prepared.id)
    # Also for whoever may not read the training set: its statistics are stored with it, and not returned.
    measured = feature_statistics.measure(stored.rows(runtime.as_operator()), stored.manifest, observer.statistics())
    feature_statistics.store_statistics(runtime, stored.manifest, measured)
    return stored


def has_training_set(runtime: Runtime, id: str) -> bool:
    """Whether there is a training set with this id, of which no row is read."""
    return _find_stored(runtime, id) is not None


def get_training_set(runtime: Runtime, id: str) -> TrainingSet:
    """The training set with this id. Raises: Forbidden, whether or not it exists; NotFound with the nearest ids."""
    if name := id.rpartition("-")[0]:
        runtime.reader.permit("TABLE", set_table(runtime, name))
    return _get_stored(runtime, id).open(runtime)


def _observe(runtime: Runtime, prepared: PreparedTrainingSet, schema: pa.Schema, assigner: SplitAssigner | None) -> RowObserver:
    features = prepared.plan.feature_names
    measured = [name for name in schema.names if name in features or name == prepared.request.label]
    memory = runtime.engine.memory // feature_statistics.MEMORY_DIVISOR
    return RowObserver(schema, features, measured, assigner, memory=memory, threads=runtime.settings.threads)


def _find_stored(runtime: Runtime, id: str) -> StoredTrainingSet | None:
    """The training set with this id; None if there is none."""
    name = id.rpartition("-")[0]
    table = tables.find(runtime.catalog, set_table(runtime, name)) if name else None
    return None if table is None else _stored_in(table, id)


def _stored_in(table: Table, id: str) -> StoredTrainingSet | None:
    """As `_find_stored`, in a table that is already loaded."""
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    entries = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    return StoredTrainingSet(entries, table, snapshot_id)


def _get_stored(runtime: Runtime, id: str) -> StoredTrainingSet:
    if (stored := _find_stored(runtime, id)) is None:
        raise NotFound("training set", id, [row.id for row in list_training_sets(runtime)])
    return stored


def set_table(runtime: Runtime, name: str) -> str:
    """The name in the catalog of the table of training sets of a name."""
    return f"{runtime.settings.training_sets_namespace}.{name}"
