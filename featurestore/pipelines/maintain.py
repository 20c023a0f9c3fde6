"""Upkeep: expire snapshots that nothing pins, and sweep files that no kept snapshot reaches."""

from datetime import UTC, datetime, timedelta
from typing import Any

from featurestore.errors import RequestError
from featurestore.lakehouse import maintenance, tables
from featurestore.pipelines.parts import Parts

GRACE = timedelta(hours=1)


def maintain(parts: Parts, older_than: timedelta, dry_run: bool) -> list[dict[str, Any]]:
    """Tidy every table of the store. Tagged snapshots, and so every training set and what it pins, are kept.

    Files younger than an hour are never swept, whatever `older_than`: a write may still be under way.
    """
    if older_than < timedelta(0):
        raise RequestError(f"older_than {older_than} is negative; give how old a snapshot must be to go")
    settings = parts.settings
    done: list[dict[str, Any]] = []
    present = datetime.now(UTC)
    for namespace in (
        settings.features_namespace,
        settings.training_sets_namespace,
        settings.registry_namespace,
        settings.inference_namespace,
    ):
        for name in tables.list_tables(parts.catalog, namespace):
            identifier = f"{namespace}.{name}"
            expired = maintenance.expire(tables.load(parts.catalog, identifier), present - older_than, dry_run)
            swept = maintenance.sweep(tables.load(parts.catalog, identifier), present - max(older_than, GRACE), dry_run)
            done.append({"table": identifier, "snapshots": expired.snapshots, "files": swept.files, "bytes": swept.bytes})
    return done
