"""List training sets, from the tags of their tables."""

import json
from typing import Any

from featurestore.lakehouse import tables, tags
from featurestore.pipelines.training_sets.training_set import MANIFEST, TAG
from featurestore.records.runtime import Runtime


def list_training_sets(runtime: Runtime) -> list[dict[str, Any]]:
    """Every training set, newest first: id, name, service, feature tables (`views`), rows, digest, creation time."""
    listed: list[dict[str, Any]] = []
    namespace = runtime.settings.training_sets_namespace
    for name in tables.list_tables(runtime.catalog, namespace):
        table = tables.load(runtime.catalog, f"{namespace}.{name}")
        for tag, snapshot_id in tags.tags(table).items():
            entries = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if tag.startswith(TAG) and entries:
                shown = {key: entries[key] for key in ("id", "name", "rows", "label", "known", "digest", "created_at", "seconds")}
                facts = {"service": entries["service"]["name"], "views": sorted(entries["views"]), "snapshot_id": str(snapshot_id)}
                listed.append({**shown, **facts})
    return sorted(listed, key=lambda row: str(row["created_at"]), reverse=True)
