"""List training sets, from the tags of their tables."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from featurestore.lakehouse import tables, tags
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import MANIFEST, TAG, has_same_set_policies
from featurestore.values.result import SNAPSHOT_ID, Result


@dataclass(frozen=True, eq=False)
class TrainingSetInfo(Result):
    """A stored training set, in short. `seconds` is how long the build took, and `views` are the feature tables that it pins."""

    id: str
    name: str
    rows: int
    label: str | None
    known: str
    digest: str
    created_at: datetime
    seconds: float
    service: str
    views: tuple[str, ...]
    snapshot_id: int = field(metadata=SNAPSHOT_ID)


def list_training_sets(runtime: Runtime) -> list[TrainingSetInfo]:
    """Every training set that the runtime's reader may read by the policies it is under, newest first."""
    manifests = (manifest for manifest in read_manifests(runtime) if has_same_set_policies(runtime, manifest))
    listed = [_info(manifest, int(manifest["snapshot_id"])) for manifest in manifests]
    return sorted(listed, key=lambda row: row.created_at, reverse=True)


def read_manifests(runtime: Runtime) -> Iterator[dict[str, Any]]:
    """The manifest of every training set, table by table."""
    namespace = runtime.settings.training_sets_namespace
    for name in tables.list_tables(runtime.catalog, namespace):
        table = tables.load(runtime.catalog, f"{namespace}.{name}")
        for tag, snapshot_id in tags.tags(table).items():
            entries = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if tag.startswith(TAG) and entries:
                yield {**entries, "snapshot_id": str(snapshot_id)}


def _info(entries: Mapping[str, Any], snapshot_id: int) -> TrainingSetInfo:
    shown = {key: entries[key] for key in ("id", "name", "rows", "label", "known", "digest", "created_at", "seconds")}
    facts = {"service": entries["service"]["name"], "views": sorted(entries["views"]), "snapshot_id": snapshot_id}
    return TrainingSetInfo.from_dict({**shown, **facts})
