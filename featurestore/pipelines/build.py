"""Building, finding and rebuilding training sets."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan, service_plan_from_dict
from featurestore.errors import DigestMismatch, NotFound
from featurestore.lakehouse import tables, tags, writes
from featurestore.pipelines import times
from featurestore.pipelines.digest import Digest, type_name
from featurestore.pipelines.feature_table import THROUGH
from featurestore.pipelines.join import Joined
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.pinned import Pinned, join_pinned, past_watermark_warnings, pin
from featurestore.pipelines.prepared import Prepared
from featurestore.pipelines.spine import fitted, time_range
from featurestore.pipelines.stored_rows import StoredRows
from featurestore.pipelines.training_set import MANIFEST, TAG, TrainingSet, manifest_json

Report = Callable[[int], None]
"""Told how many rows of a training set are written so far."""

LIBRARIES = ("duckdb", "pyarrow", "pyiceberg", "sqlglot")


def build(parts: Parts, prepared: Prepared, report: Report | None = None) -> TrainingSet:
    """Join, store and tag a training set; the same request on the same snapshots returns the one that is there.

    `report` is told how many rows were written so far.
    """
    began = time.monotonic()
    if (existing := find(parts, prepared.id)) is not None:
        return existing
    with join_pinned(parts, prepared.plan, prepared.spine, prepared.pinned, prepared.known) as joined:
        manifest = _manifest(prepared, joined)
        tally = _Tally(joined.schema, prepared.plan, report)

        def summary() -> dict[str, str]:
            manifest.update(tally.results(), seconds=round(prepared.seconds + time.monotonic() - began, 3))
            for table, at in prepared.pinned.items():
                if at.snapshot_id is not None:
                    tags.tag(tables.load(parts.catalog, parts.features_table(table)), TAG + prepared.id, at.snapshot_id)
            return {MANIFEST: manifest_json(manifest)}

        schema = pa.schema([*joined.schema, pa.field(ROW, pa.int64())])
        reader = pa.RecordBatchReader.from_batches(schema, tally.numbered(joined.batches, schema))
        writes.replace(parts.catalog, _identifier(parts, prepared.name), reader, summary=summary, tag=TAG + prepared.id)
    return get(parts, prepared.id)


def find(parts: Parts, id: str) -> TrainingSet | None:
    """The training set of this id; None when there is none."""
    identifier = _identifier(parts, id.rpartition("-")[0])
    if not id.rpartition("-")[0] or not tables.exists(parts.catalog, identifier):
        return None
    table = tables.load(parts.catalog, identifier)
    snapshot_id = tags.tags(table).get(TAG + id)
    if snapshot_id is None:
        return None
    manifest = {**json.loads(tables.summary(table, snapshot_id)[MANIFEST]), "snapshot_id": str(snapshot_id)}
    stored = StoredRows(parts, table, snapshot_id, tuple(column["name"] for column in manifest["columns"]))
    return TrainingSet(manifest, stored.read, stored.files, parts.settings)


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
            manifest = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if tag.startswith(TAG) and manifest:
                shown = {key: manifest[key] for key in ("id", "name", "rows", "label", "known", "digest", "created_at", "seconds")}
                facts = {"service": manifest["service"]["name"], "views": sorted(manifest["views"]), "snapshot_id": str(snapshot_id)}
                found.append({**shown, **facts})
    return sorted(found, key=lambda one: str(one["created_at"]), reverse=True)


def rebuild(parts: Parts, id: str) -> TrainingSet:
    """Compute a training set again from its pinned snapshots and stored spine, and compare with what was recorded.

    Raises: DigestMismatch naming the columns that differ; NotFound when the training set, or a snapshot it pins, is gone.
    """
    recorded = get(parts, id)
    manifest = recorded.manifest
    plan = service_plan_from_dict(manifest["plan"])
    columns = [column["name"] for column in manifest["columns"] if column["role"] == "spine"]
    stored = recorded.to_arrow()
    given = stored.select([stored.schema.names.index(name) for name in columns])
    spine = fitted(given, plan, recorded.timestamp)
    with join_pinned(parts, plan, spine, pin(parts, plan, recorded.snapshots), manifest["known"]) as joined:
        digest = Digest(joined.schema)
        for batch in joined.batches:
            digest.update(batch)
    if digest.table() != recorded.digest:
        found = digest.columns()
        differ = [name for name, value in manifest["column_digests"].items() if found.get(name) != value]
        raise DigestMismatch(
            f"training set {id} came out different: recorded {recorded.digest}, rebuilt {digest.table()};"
            f" columns that differ: {', '.join(differ) or 'none by name'}",
            recorded=recorded.digest,
            rebuilt=digest.table(),
            columns=differ,
        )
    return recorded


class _Tally:
    """Counts and digests the rows on their way into the table."""

    def __init__(self, schema: pa.Schema, plan: ServicePlan, report: Report | None) -> None:
        self._digest = Digest(schema)
        self._nulls = dict.fromkeys(plan.feature_names, 0)
        self._rows = 0
        self._report = report

    def numbered(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The batches with the row number added."""
        for batch in batches:
            self._digest.update(batch)
            for name in self._nulls:
                self._nulls[name] += batch.column(name).null_count
            numbers = pa.array(range(self._rows, self._rows + batch.num_rows), pa.int64())
            self._rows += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=schema)
            if self._report is not None:
                self._report(self._rows)

    def results(self) -> dict[str, Any]:
        """The manifest's entries that are known after the last row."""
        return {"rows": self._rows, "nulls": self._nulls, "digest": self._digest.table(), "column_digests": self._digest.columns()}


def _manifest(prepared: Prepared, joined: Joined) -> dict[str, Any]:
    plan, spine, pinned = prepared.plan, prepared.spine, prepared.pinned
    ends = time_range(spine.times)
    derived = {name for name, _ in plan.derived}
    own = len(spine.table.schema)
    roles = ["spine" if index < own else "derived" if field.name in derived else "feature" for index, field in enumerate(joined.schema)]
    return {
        "manifest_version": 1,
        "id": prepared.id,
        "name": prepared.name,
        "created_at": times.text(times.now()),
        "service": {"name": plan.service, "version": plan.version, "fingerprint": plan.fingerprint},
        "plan": plan.to_dict(),
        "views": {table: _view_entry(at) for table, at in pinned.items()},
        "spine": {
            "rows": spine.table.num_rows,
            "digest": prepared.spine_digest,
            "timestamp": spine.timestamp,
            "columns": spine.table.schema.names,
            "from": times.text(ends[0]) if ends else None,
            "to": times.text(ends[1]) if ends else None,
        },
        "label": prepared.label,
        "known": prepared.known,
        "past_watermark": {use: facts.past_watermark for use, facts in joined.facts.items()},
        "leak_certificate": {
            use: {"feature_minus_spine_us": facts.feature_minus_spine, "created_minus_spine_us": facts.created_minus_spine}
            for use, facts in joined.facts.items()
        },
        "columns": [
            {"name": field.name, "type": type_name(field.type), "role": role} for field, role in zip(joined.schema, roles, strict=True)
        ],
        "sql": joined.sql,
        "versions": {
            "featurestore": version("featurestore"),
            "python": sys.version.split()[0],
            **{library: version(library) for library in LIBRARIES},
        },
        "warnings": [*prepared.notes, *past_watermark_warnings(plan, joined.facts, pinned)],
    }


def _view_entry(at: Pinned) -> dict[str, Any]:
    return {
        "table": ".".join(at.table.name()),
        "uuid": str(at.table.metadata.table_uuid),
        "snapshot_id": None if at.snapshot_id is None else str(at.snapshot_id),
        "fingerprint": at.table.properties.get("featurestore.fingerprint"),
        THROUGH.partition(".")[2].replace("-", "_"): times.text(at.state.through),
        "source_snapshots": dict(at.state.sources),
    }


def _identifier(parts: Parts, name: str) -> str:
    return f"{parts.settings.training_sets_namespace}.{name}"
