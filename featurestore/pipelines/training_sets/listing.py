"""Every training set that there is, as the tags of their tables say."""

import json
from typing import Any

from featurestore.lakehouse import tables, tags
from featurestore.pipelines.training_sets.training_set import MANIFEST, TAG
from featurestore.records.runtime import Runtime


def listing(runtime: Runtime) -> list[dict[str, Any]]:
    """Every training set, newest first: id, name, service, feature tables (`views`), rows, digest, when it was made."""
    found: list[dict[str, Any]] = []
    namespace = runtime.settings.training_sets_namespace
    for name in tables.list_tables(runtime.catalog, namespace):
        table = tables.load(runtime.catalog, f"{namespace}.{name}")
        for tag, snapshot_id in tags.tags(table).items():
            said = json.loads(tables.summary(table, snapshot_id).get(MANIFEST) or "{}")
            if tag.startswith(TAG) and said:
                shown = {key: said[key] for key in ("id", "name", "rows", "label", "known", "digest", "created_at", "seconds")}
                facts = {"service": said["service"]["name"], "views": sorted(said["views"]), "snapshot_id": str(snapshot_id)}
                found.append({**shown, **facts})
    return sorted(found, key=lambda one: str(one["created_at"]), reverse=True)
