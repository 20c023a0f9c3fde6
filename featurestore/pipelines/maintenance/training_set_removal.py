"""Remove a training set that no model needs: first its tag, so that nobody finds it, then what it pinned, its rows and its statistics."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Literal

from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import maintenance, tables, tags, writes
from featurestore.lakehouse.table import Table
from featurestore.pipelines.maintenance.version_tags import names_of_versions
from featurestore.pipelines.training_sets.feature_statistics import statistics_table
from featurestore.pipelines.training_sets.listing import list_training_sets
from featurestore.records.recorded_models import recorded_models
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import MANIFEST, TAG
from featurestore.values import times
from featurestore.values.humanize import format_names
from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class TrainingSetRemoval(Result):
    """A training set that was removed, or in a dry run would be; `files` and `bytes` count the files with its rows.

    `tables` are the feature tables that it pinned, whose snapshots expire like any other now.
    """

    kind: Literal["training set"]
    id: str
    table: str
    snapshot_id: int = field(metadata=SNAPSHOT_ID)
    rows: int
    tables: tuple[str, ...]
    files: int
    bytes: int


def remove_training_set(runtime: Runtime, id: str, dry_run: bool = False) -> TrainingSetRemoval:
    """Remove a training set with its rows and its statistics, and release the snapshots that it pins.

    An interrupted removal is completed by calling this again. Raises: NotFound with the nearest ids; Conflict, with nothing changed, if a
    model was trained on it, or a tag pins it.
    """
    table, snapshot_id = _find(runtime, id)
    manifest = json.loads(tables.summary(table, snapshot_id)[MANIFEST])
    pinned = {str(view["table"]): view["snapshot_id"] for view in manifest["views"].values()}
    _refuse_used(runtime, id, table, snapshot_id)
    if dry_run:
        files = maintenance.files_of_snapshot(table, snapshot_id)
        return _removal(manifest, table, snapshot_id, pinned, files)
    _prepare_release(runtime, TAG + id, table, pinned)
    if TAG + id in tags.tags(table):
        tags.remove_tagged(table, TAG + id)
        try:
            _refuse_used(runtime, id, table, snapshot_id)
        except Conflict:
            # A model was logged while it was being removed.
            tags.set_tag(table, TAG + id, snapshot_id)
            raise
    _release(runtime, TAG + id, pinned)
    statistics = tables.find(runtime.catalog, statistics_table(runtime))
    if statistics is not None:
        writes.delete_rows(statistics, "training_set", id, summary={writes.OPERATION: "remove"})
    # Last, since it is the snapshot by which an interrupted removal is found.
    files = maintenance.remove_snapshot(table, snapshot_id)
    return _removal(manifest, table, snapshot_id, pinned, files)


def _removal(
    manifest: dict[str, object], table: Table, snapshot_id: int, pinned: dict[str, str | None], files: maintenance.RemovedFiles
) -> TrainingSetRemoval:
    rows = int(str(manifest["rows"]))
    return TrainingSetRemoval("training set", str(manifest["id"]), table.name, snapshot_id, rows, tuple(pinned), files.files, files.bytes)


def _find(runtime: Runtime, id: str) -> tuple[Table, int]:
    """The table and the snapshot of a training set, also of one whose removal was interrupted. Raises: NotFound."""
    name = id.rpartition("-")[0]
    table = tables.find(runtime.catalog, f"{runtime.settings.training_sets_namespace}.{name}") if name else None
    if table is not None:
        tagged = tags.tags(table).get(TAG + id)
        if tagged is not None:
            return table, tagged
        for snapshot_id in table.snapshot_ids:
            manifest = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if manifest.get("id") == id:
                return table, snapshot_id
    raise NotFound("training set", id, [row.id for row in list_training_sets(runtime)])


def _refuse_used(runtime: Runtime, id: str, table: Table, snapshot_id: int) -> None:
    """Raises: Conflict naming the models that were trained on it, and the tags that pin its rows."""
    models = [model.label for model in recorded_models(runtime) if id in model.training_sets]
    pinning = [name for name in names_of_versions(table) if tags.tags(table)[name] == snapshot_id]
    reasons = {
        "models were trained on it, which must be deleted in MLflow first": models,
        "tags pin it, which `featurestore tag NAME --remove` removes": pinning,
    }
    texts = [f"{text}: {format_names(names)}" for text, names in reasons.items() if names]
    if texts:
        message = f"training set {id} cannot be removed: {'; '.join(texts)}. Nothing was removed"
        raise Conflict(message, training_set=id, models=models, tags=pinning)


def _prepare_release(runtime: Runtime, tag: str, table: Table, pinned: dict[str, str | None]) -> None:
    """Mark the tags of the pinned snapshots like those of a build, so that maintenance removes them if this call is interrupted."""
    note = json.dumps({"at": times.text(times.now()), "training_set": table.name, "build": uuid.uuid4().hex})
    for identifier, snapshot in pinned.items():
        feature_table = tables.find(runtime.catalog, identifier)
        if snapshot is not None and feature_table is not None and tags.tags(feature_table).get(tag) == int(snapshot):
            tags.set_tag(feature_table, tag, int(snapshot), note)


def _release(runtime: Runtime, tag: str, pinned: dict[str, str | None]) -> None:
    for identifier in pinned:
        table = tables.find(runtime.catalog, identifier)
        if table is not None and tag in tags.tags(table):
            tags.settle_tags(table, (), [tag])
