"""Build, store, find and list training sets."""

import json
import time
from typing import Any

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.errors import Conflict, NotFound
from featurestore.joins.pinned import join_pinned
from featurestore.lakehouse import tables, tags, writes
from featurestore.lakehouse.granted import Permit
from featurestore.lakehouse.table import Table
from featurestore.pipelines.lineage_events.datasets import training_set_datasets
from featurestore.pipelines.lineage_events.run_report import report_run
from featurestore.pipelines.training_sets import build_tags, feature_statistics, manifest, splits
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.pipelines.training_sets.observer import OnRowsWritten, RowObserver
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.pipelines.training_sets.split_assignment import SplitAssigner, open_split_assigner
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.pipelines.training_sets.training_set import MANIFEST, TAG, TrainingSet, manifest_json
from featurestore.records.runtime import Runtime


def build_training_set(runtime: Runtime, prepared: PreparedTrainingSet, on_rows_written: OnRowsWritten | None = None) -> TrainingSet:
    """Join, store and tag a training set. If one with the same id exists, return it.

    `on_rows_written` is called with the number of rows written so far.
    """
    started = time.monotonic()
    identifier = set_table(runtime, prepared.request.name)
    permit = runtime.reader.permit("TABLE", identifier)
    existing_table = tables.find(runtime.catalog, identifier)
    if existing_table is not None and (existing := _read_stored(runtime, existing_table, prepared.id, permit)) is not None:
        return _open(runtime, *existing)
    with report_run(runtime, f"training_set.{prepared.request.name}", "TRAINING_SET") as report:
        entries, stored = _join_and_store(runtime, prepared, permit, existing_table, on_rows_written, started)
        report.complete(lambda: training_set_datasets(runtime, entries))
    return _open(runtime, entries, stored)


def _join_and_store(
    runtime: Runtime,
    prepared: PreparedTrainingSet,
    permit: Permit,
    existing_table: Table | None,
    on_rows_written: OnRowsWritten | None,
    started: float,
) -> tuple[dict[str, Any], StoredRows]:
    """The manifest and the stored rows of a new training set; `started` is the monotonic time at which its build began."""
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
        table = existing_table or tables.create_if_absent(runtime.catalog, identifier, schema)
        try:
            writes.replace_rows(table, reader, summary=summary, tag=TAG + prepared.id)
        except Conflict:
            # Another build of the same request committed first.
            if not has_training_set(runtime, prepared.id):
                raise
    entries, stored = _read_stored(runtime, table, prepared.id, permit) or _get_stored(runtime, prepared.id)
    feature_statistics.store_statistics(runtime, entries, feature_statistics.measure(stored, entries, observer.statistics()))
    return entries, stored


def has_training_set(runtime: Runtime, id: str) -> bool:
    """Whether there is a training set with this id, of which no row is read."""
    name = id.rpartition("-")[0]
    table = tables.find(runtime.catalog, set_table(runtime, name)) if name else None
    return table is not None and TAG + id in tags.tags(table)


def get_training_set(runtime: Runtime, id: str) -> TrainingSet:
    """The training set with this id. Raises: NotFound with the nearest ids."""
    return _open(runtime, *_get_stored(runtime, id))


def _observe(runtime: Runtime, prepared: PreparedTrainingSet, schema: pa.Schema, assigner: SplitAssigner | None) -> RowObserver:
    features = prepared.plan.feature_names
    measured = [name for name in schema.names if name in features or name == prepared.request.label]
    memory = runtime.engine.memory // feature_statistics.MEMORY_DIVISOR
    return RowObserver(schema, features, measured, assigner, memory=memory, threads=runtime.settings.threads)


def _find_stored(runtime: Runtime, id: str) -> tuple[dict[str, Any], StoredRows] | None:
    """The manifest and the rows of a training set; None if there is none with this id."""
    name = id.rpartition("-")[0]
    if not name:
        return None
    permit = runtime.reader.permit("TABLE", set_table(runtime, name))
    table = tables.find(runtime.catalog, set_table(runtime, name))
    return None if table is None else _read_stored(runtime, table, id, permit)


def _read_stored(runtime: Runtime, table: Table, id: str, permit: Permit) -> tuple[dict[str, Any], StoredRows] | None:
    """As `_find_stored`, from a table that is already loaded."""
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    entries = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    return entries, StoredRows(
        runtime, runtime.reader.grant(table, permit), snapshot_id, tuple(column["name"] for column in entries["columns"])
    )


def _get_stored(runtime: Runtime, id: str) -> tuple[dict[str, Any], StoredRows]:
    if (stored := _find_stored(runtime, id)) is None:
        raise NotFound("training set", id, [row.id for row in list_training_sets(runtime)])
    return stored


def _open(runtime: Runtime, entries: dict[str, Any], stored: StoredRows) -> TrainingSet:
    return TrainingSet(
        entries, stored.read, stored.files, lambda: feature_statistics.load_or_measure(runtime, entries, stored), runtime.settings
    )


def set_table(runtime: Runtime, name: str) -> str:
    """The name in the catalog of the table of training sets of a name."""
    return f"{runtime.settings.training_sets_namespace}.{name}"
