"""What keeps which snapshot alive: maintenance expires none that anything here names."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from featurestore.lakehouse import maintenance, tables, tags
from featurestore.pipelines.maintenance.repair import table_identifiers
from featurestore.records.recorded_models import RecordedModel, recorded_models
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.values.result import SNAPSHOT_ID, Result

INFERENCE_TAG = "inference-"
"""The prefix of the tags of snapshots that logged predictions were computed from."""


@dataclass(frozen=True, eq=False)
class RetainedSnapshot(Result):
    """A snapshot of a table, and what keeps it alive; `by` is empty for one that expires when it is old enough."""

    table: str
    snapshot_id: int = field(metadata=SNAPSHOT_ID)
    committed_at: datetime
    by: tuple[str, ...]


def explain_retention(runtime: Runtime) -> list[RetainedSnapshot]:
    """Every snapshot of every table of the store, oldest first, with what keeps it alive."""
    models = recorded_models(runtime)
    return [retained for identifier in table_identifiers(runtime) for retained in _explain(runtime, identifier, models)]


def _explain(runtime: Runtime, identifier: str, models: list[RecordedModel]) -> Iterator[RetainedSnapshot]:
    table = tables.load(runtime.catalog, identifier)
    by: dict[int, list[str]] = {}
    if table.snapshot_id is not None:
        by[table.snapshot_id] = ["current"]
    for tag, snapshot in sorted(tags.tags(table).items()):
        reasons = by.setdefault(snapshot, [])
        # Several logged models of a name that are not registered, or not any more, have one label.
        reasons += [reason for reason in dict.fromkeys(_reasons(tag, models)) if reason not in reasons]
    reader = _published_snapshot(runtime, identifier)
    if reader is not None:
        by.setdefault(reader, []).append("the online store")
    for snapshot, at in maintenance.retained_snapshots(table).items():
        yield RetainedSnapshot(identifier, snapshot, at, tuple(by.get(snapshot, ())))


def _reasons(tag: str, models: list[RecordedModel]) -> Iterator[str]:
    """What a tag stands for: a training set, with the models that were trained on it and their aliases, or logged predictions."""
    if tag.startswith(TAG):
        id = tag.removeprefix(TAG)
        yield f"training set {id}"
        for model in models:
            if id in model.training_sets:
                aliases = "".join(f" @{alias}" for alias in model.aliases)
                yield f"model {model.label}{aliases}"
    elif tag.startswith(INFERENCE_TAG):
        yield "logged predictions"
    else:
        yield f"tag {tag}"


def _published_snapshot(runtime: Runtime, identifier: str) -> int | None:
    namespace, _, name = identifier.rpartition(".")
    if namespace != runtime.settings.features_namespace:
        return None
    cursor = runtime.online.cursor(name)
    return None if cursor is None else cursor.snapshot_id
