"""Building, finding and rebuilding training sets."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.errors import DigestMismatch, NotFound
from featurestore.lakehouse import tables, tags, writes
from featurestore.pipelines import manifest, splits, statistics
from featurestore.pipelines.differences import Differences
from featurestore.pipelines.digest import Digest
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.pinned import join_pinned, pin
from featurestore.pipelines.prepared import Prepared
from featurestore.pipelines.spine import fitted
from featurestore.pipelines.stored_rows import StoredRows
from featurestore.pipelines.training_set import MANIFEST, TAG, TrainingSet, manifest_json

Report = Callable[[int], None]
"""Told how many rows of a training set are written so far."""


def build(parts: Parts, prepared: Prepared, report: Report | None = None) -> TrainingSet:
    """Join, store and tag a training set; the same request on the same snapshots returns the one that is there.

    `report` is told how many rows were written so far.
    """
    began = time.monotonic()
    if (existing := find(parts, prepared.id)) is not None:
        return existing
    with join_pinned(parts, prepared.plan, prepared.spine, prepared.pinned, prepared.known) as joined:
        noted = manifest.described(prepared, joined)
        places = None if prepared.split is None else splits.assigned(parts, prepared.split, prepared.spine)
        if prepared.split is not None and places is not None:
            noted["split"] = splits.counted(prepared.split, places)
        tally = _Tally(joined.schema, prepared.plan, report, places)

        def summary() -> dict[str, str]:
            seconds = round(prepared.seconds + time.monotonic() - began, 3)
            noted.update(tally.results(), seconds=seconds, peak_memory_bytes=manifest.peak_memory())
            for table, at in prepared.pinned.items():
                if at.snapshot_id is not None:
                    tags.tag(tables.load(parts.catalog, parts.features_table(table)), TAG + prepared.id, at.snapshot_id)
            return {MANIFEST: manifest_json(noted)}

        own = [pa.field(ROW, pa.int64()), *([] if places is None else [pa.field(splits.PART, pa.string())])]
        schema = pa.schema([*joined.schema, *own])
        reader = pa.RecordBatchReader.from_batches(schema, tally.numbered(joined.batches, schema))
        writes.replace(parts.catalog, _identifier(parts, prepared.name), reader, summary=summary, tag=TAG + prepared.id)
    made = get(parts, prepared.id)
    made.measured()
    return made


def find(parts: Parts, id: str) -> TrainingSet | None:
    """The training set of this id; None when there is none."""
    identifier = _identifier(parts, id.rpartition("-")[0])
    if not id.rpartition("-")[0] or not tables.exists(parts.catalog, identifier):
        return None
    table = tables.load(parts.catalog, identifier)
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    said = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    stored = StoredRows(parts, table, snapshot_id, tuple(column["name"] for column in said["columns"]))
    return TrainingSet(said, stored.read, stored.files, lambda: statistics.of(parts, said, stored), parts.settings)


def get(parts: Parts, id: str) -> TrainingSet:
    """The training set of this id. Raises: NotFound with the nearest ids."""
    found = find(parts, id)
    if found is None:
        raise NotFound("training set", id, [one["id"] for one in listing(parts)])
    return found


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


def rebuild(parts: Parts, id: str) -> TrainingSet:
    """Compute a training set again from its pinned snapshots and stored spine, and compare with what was recorded.

    Raises: DigestMismatch naming the columns that differ and the first rows; NotFound when the training set, or a snapshot
    that it pins, is gone.
    """
    recorded = get(parts, id)
    said = recorded.manifest
    plan = service_plan_from_dict(said["plan"])
    columns = [column["name"] for column in said["columns"] if column["role"] == "spine"]
    stored = recorded.to_arrow()
    given = stored.select([stored.schema.names.index(name) for name in columns])
    spine = fitted(given, plan, recorded.timestamp)
    with join_pinned(parts, plan, spine, pin(parts, plan, recorded.snapshots), said["known"]) as joined:
        digest = Digest(joined.schema)
        differences = Differences(stored)
        for batch in joined.batches:
            digest.update(batch)
            differences.update(batch)
    if digest.table() != recorded.digest:
        found = digest.columns()
        differ = [name for name, value in said["column_digests"].items() if found.get(name) != value]
        raise DigestMismatch(
            f"training set {id} came out different: recorded {recorded.digest}, rebuilt {digest.table()};"
            f" columns that differ: {', '.join(differ) or 'none by name'}; {differences}",
            recorded=recorded.digest,
            rebuilt=digest.table(),
            columns=differ,
            rows=differences.rows,
        )
    return recorded


class _Tally:
    """Counts and digests the rows on their way into the table."""

    def __init__(self, schema: pa.Schema, plan: ServicePlan, report: Report | None, places: pa.Array | None) -> None:
        self._digest = Digest(schema)
        self._nulls = dict.fromkeys(plan.feature_names, 0)
        self._rows = 0
        self._report = report
        self._places = places

    def numbered(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The batches with the row number, and the part of the split where there is one, added."""
        for batch in batches:
            self._digest.update(batch)
            for name in self._nulls:
                self._nulls[name] += batch.column(name).null_count
            numbers = pa.array(range(self._rows, self._rows + batch.num_rows), pa.int64())
            places = [] if self._places is None else [self._places.slice(self._rows, batch.num_rows)]
            self._rows += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, numbers, *places], schema=schema)
            if self._report is not None:
                self._report(self._rows)

    def results(self) -> dict[str, Any]:
        """The manifest's entries that are known after the last row."""
        return {"rows": self._rows, "nulls": self._nulls, "digest": self._digest.table(), "column_digests": self._digest.columns()}


def _identifier(parts: Parts, name: str) -> str:
    return f"{parts.settings.training_sets_namespace}.{name}"
