"""Building and finding training sets."""

import json
import time
from typing import Any

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import tables, tags, writes
from featurestore.pipelines.joining.pinned import join_pinned
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.training_sets import manifest, pins, splits, statistics
from featurestore.pipelines.training_sets.places import Places, places
from featurestore.pipelines.training_sets.prepared import Prepared
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.pipelines.training_sets.tally import Report, Tally
from featurestore.pipelines.training_sets.training_set import MANIFEST, TAG, TrainingSet, manifest_json


def build(parts: Parts, prepared: Prepared, report: Report | None = None) -> TrainingSet:
    """Join, store and tag a training set; the same request on the same snapshots returns the one that is there.

    `report` is told how many rows were written so far.
    """
    began = time.monotonic()
    if (existing := find(parts, prepared.id)) is not None:
        return existing
    home = _identifier(parts, prepared.name)
    with (
        pins.held(parts, prepared, home),
        join_pinned(parts, prepared.plan, prepared.spine, prepared.pinned, prepared.known) as joined,
        places(parts, prepared.split, prepared.spine.timestamp) as placed,
        _tally(parts, prepared, joined.schema, placed) as tally,
    ):

        def summary() -> dict[str, str]:
            seconds = round(prepared.seconds + time.monotonic() - began, 3)
            noted = {**manifest.described(prepared, joined), **tally.results()}
            noted.update(seconds=seconds, peak_memory_bytes=manifest.peak_memory())
            return {MANIFEST: manifest_json(noted)}

        own = [pa.field(ROW, pa.int64()), *([] if placed is None else [pa.field(splits.PART, pa.string())])]
        schema = pa.schema([*joined.schema, *own])
        reader = pa.RecordBatchReader.from_batches(schema, tally.numbered(joined.batches, schema, report))
        try:
            writes.replace(parts.catalog, home, reader, summary=summary, tag=TAG + prepared.id)
        except Conflict:
            # Another build of the same request was first.
            if find(parts, prepared.id) is None:
                raise
    said, stored = _found(parts, prepared.id)
    statistics.keep(parts, said, statistics.measure(stored, said, tally.statistics()))
    return _opened(parts, said, stored)


def find(parts: Parts, id: str) -> TrainingSet | None:
    """The training set of this id; None when there is none."""
    found = _sought(parts, id)
    return None if found is None else _opened(parts, *found)


def get(parts: Parts, id: str) -> TrainingSet:
    """The training set of this id. Raises: NotFound with the nearest ids."""
    return _opened(parts, *_found(parts, id))


def listing(parts: Parts) -> list[dict[str, Any]]:
    """Every training set, newest first: id, name, service, feature tables (`views`), rows, digest, when it was made."""
    found: list[dict[str, Any]] = []
    namespace = parts.settings.training_sets_namespace
    for name in tables.list_tables(parts.catalog, namespace):
        table = tables.load(parts.catalog, f"{namespace}.{name}")
        for tag, snapshot_id in tags.tags(table).items():
            said = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if tag.startswith(TAG) and said:
                shown = {key: said[key] for key in ("id", "name", "rows", "label", "known", "digest", "created_at", "seconds")}
                facts = {"service": said["service"]["name"], "views": sorted(said["views"]), "snapshot_id": str(snapshot_id)}
                found.append({**shown, **facts})
    return sorted(found, key=lambda one: str(one["created_at"]), reverse=True)


def _tally(parts: Parts, prepared: Prepared, schema: pa.Schema, placed: Places | None) -> Tally:
    features = prepared.plan.feature_names
    measured = [name for name in schema.names if name in features or name == prepared.label]
    room = parts.engine.memory // statistics.SHARE
    return Tally(schema, features, measured, placed, room=room, threads=parts.settings.threads)


def _sought(parts: Parts, id: str) -> tuple[dict[str, Any], StoredRows] | None:
    """The manifest and the rows of a training set; None when there is none of this id."""
    identifier = _identifier(parts, id.rpartition("-")[0])
    if not id.rpartition("-")[0] or not tables.exists(parts.catalog, identifier):
        return None
    table = tables.load(parts.catalog, identifier)
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    said = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    return said, StoredRows(parts, table, snapshot_id, tuple(column["name"] for column in said["columns"]))


def _found(parts: Parts, id: str) -> tuple[dict[str, Any], StoredRows]:
    if (found := _sought(parts, id)) is None:
        raise NotFound("training set", id, [one["id"] for one in listing(parts)])
    return found


def _opened(parts: Parts, said: dict[str, Any], stored: StoredRows) -> TrainingSet:
    return TrainingSet(said, stored.read, stored.files, lambda: statistics.of(parts, said, stored), parts.settings)


def _identifier(parts: Parts, name: str) -> str:
    return f"{parts.settings.training_sets_namespace}.{name}"
