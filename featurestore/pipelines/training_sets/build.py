"""Building and finding training sets."""

import json
import time
from typing import Any

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.errors import Conflict, NotFound
from featurestore.joins.pinned import join_pinned
from featurestore.lakehouse import tables, tags, writes
from featurestore.pipelines.training_sets import build_tags, manifest, splits, statistics
from featurestore.pipelines.training_sets.listing import listing
from featurestore.pipelines.training_sets.observer import Report, Tally
from featurestore.pipelines.training_sets.prepared import Prepared
from featurestore.pipelines.training_sets.split_assignment import Places, places
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.pipelines.training_sets.training_set import MANIFEST, TAG, TrainingSet, manifest_json
from featurestore.records.runtime import Runtime


def build(runtime: Runtime, prepared: Prepared, report: Report | None = None) -> TrainingSet:
    """Join, store and tag a training set; the same request on the same snapshots returns the one that is there.

    `report` is told how many rows were written so far.
    """
    began = time.monotonic()
    home = _identifier(runtime, prepared.name)
    there = tables.find(runtime.catalog, home)
    if there is not None and (existing := _in(runtime, there, prepared.id)) is not None:
        return _opened(runtime, *existing)
    with (
        build_tags.held(runtime, prepared, home),
        join_pinned(runtime, prepared.plan, prepared.spine, prepared.pinned, prepared.known) as joined,
        places(runtime, prepared.split, prepared.spine.timestamp) as placed,
        _tally(runtime, prepared, joined.schema, placed) as tally,
    ):

        def summary() -> dict[str, str]:
            seconds = round(prepared.seconds + time.monotonic() - began, 3)
            noted = {**manifest.described(prepared, joined), **tally.results()}
            noted.update(seconds=seconds, peak_memory_bytes=manifest.peak_memory())
            return {MANIFEST: manifest_json(noted)}

        own = [pa.field(ROW, pa.int64()), *([] if placed is None else [pa.field(splits.PART, pa.string())])]
        schema = pa.schema([*joined.schema, *own])
        reader = pa.RecordBatchReader.from_batches(schema, tally.numbered(joined.batches, schema, report))
        table = there or tables.load_or_create(runtime.catalog, home, schema)
        try:
            writes.replace_rows(table, reader, summary=summary, tag=TAG + prepared.id)
        except Conflict:
            # Another build of the same request was first.
            if find(runtime, prepared.id) is None:
                raise
    said, stored = _in(runtime, table, prepared.id) or _found(runtime, prepared.id)
    statistics.keep(runtime, said, statistics.measure(stored, said, tally.statistics()))
    return _opened(runtime, said, stored)


def find(runtime: Runtime, id: str) -> TrainingSet | None:
    """The training set of this id; None when there is none."""
    found = _sought(runtime, id)
    return None if found is None else _opened(runtime, *found)


def get(runtime: Runtime, id: str) -> TrainingSet:
    """The training set of this id. Raises: NotFound with the nearest ids."""
    return _opened(runtime, *_found(runtime, id))


def _tally(runtime: Runtime, prepared: Prepared, schema: pa.Schema, placed: Places | None) -> Tally:
    features = prepared.plan.feature_names
    measured = [name for name in schema.names if name in features or name == prepared.label]
    room = runtime.engine.memory // statistics.SHARE
    return Tally(schema, features, measured, placed, room=room, threads=runtime.settings.threads)


def _sought(runtime: Runtime, id: str) -> tuple[dict[str, Any], StoredRows] | None:
    """The manifest and the rows of a training set; None when there is none of this id."""
    name = id.rpartition("-")[0]
    table = tables.find(runtime.catalog, _identifier(runtime, name)) if name else None
    return None if table is None else _in(runtime, table, id)


def _in(runtime: Runtime, table: tables.Table, id: str) -> tuple[dict[str, Any], StoredRows] | None:
    """The same of a table that is loaded."""
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    said = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    return said, StoredRows(runtime, table, snapshot_id, tuple(column["name"] for column in said["columns"]))


def _found(runtime: Runtime, id: str) -> tuple[dict[str, Any], StoredRows]:
    if (found := _sought(runtime, id)) is None:
        raise NotFound("training set", id, [one["id"] for one in listing(runtime)])
    return found


def _opened(runtime: Runtime, said: dict[str, Any], stored: StoredRows) -> TrainingSet:
    return TrainingSet(said, stored.read, stored.files, lambda: statistics.of(runtime, said, stored), runtime.settings)


def _identifier(runtime: Runtime, name: str) -> str:
    return f"{runtime.settings.training_sets_namespace}.{name}"
