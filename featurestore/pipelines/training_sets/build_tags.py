"""Tags that protect the snapshots a build reads: permanent once the training set exists, removed by maintenance if it never does."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.commits import outcome_unknown
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.values import times

logger = logger_of(__name__)


@contextmanager
def tag_snapshots(runtime: Runtime, prepared: PreparedTrainingSet, target: str) -> Iterator[None]:
    """Tag every snapshot that the training set pins, for the block that writes it to the table `target`.

    If the block raises, the new tags are removed, except those that another build of the same training set has taken over.
    Raises: NotFound if a snapshot has expired.
    """
    name = TAG + prepared.id
    note = json.dumps({"at": times.text(times.now()), "training_set": target, "build": uuid.uuid4().hex})
    tagged: list[str] = []
    writing = False
    try:
        for table, at in prepared.pinned.items():
            identifier = runtime.features_table(table)
            if at.snapshot_id is not None:
                # Listed before it is tagged, since an interrupt may come in between. Only a tag with this note is removed.
                tagged.append(identifier)
                tags.set_tag(at.table, name, at.snapshot_id, note)
        writing = True
        yield
    except BaseException as error:
        # An interrupted or canceled build needs no tags, also if it is not known whether the last one was set. If the commit of the
        # training set may have succeeded, maintenance decides later.
        if not (writing and outcome_unknown(error)) and not _may_exist(runtime, target, name):
            for identifier in tagged:
                _remove_tag(runtime, identifier, name, note)
        raise


def settle(runtime: Runtime, table: Table, before: datetime, dry_run: bool) -> list[str]:
    """Settle the tags of builds that started before `before`: make those of existing training sets permanent, remove the others.

    Returns the ids of the training sets that do not exist, whose tags were removed, or in a dry run would be.
    Raises: CommitConflict if another writer changed a tag.
    """
    # Of other tags, notes say other things.
    notes = {name: json.loads(note) for name, note in tags.notes(table).items() if name.startswith(TAG)}
    due = {name: note["training_set"] for name, note in notes.items() if times.parse(note["at"], "at") < times.micros(before)}
    kept = [name for name, target in due.items() if _has_tag(runtime, target, name)]
    removed = [name for name in due if name not in kept]
    if due and not dry_run:
        tags.settle_tags(table, kept, removed)
    return [name.removeprefix(TAG) for name in removed]


def _has_tag(runtime: Runtime, target: str, name: str) -> bool:
    table = tables.find(runtime.catalog, target)
    return table is not None and name in tags.tags(table)


def _may_exist(runtime: Runtime, target: str, name: str) -> bool:
    """Whether the table of training sets has this tag, or cannot be read."""
    try:
        return _has_tag(runtime, target, name)
    except FeatureStoreError:
        logger.warning("%s cannot be read; the tags of a failed build stay until maintenance removes them", target, exc_info=True)
        return True


def _remove_tag(runtime: Runtime, identifier: str, name: str, note: str) -> None:
    try:
        table = tables.load(runtime.catalog, identifier)
        if tags.notes(table).get(name) == note:
            tags.settle_tags(table, (), [name])
    except FeatureStoreError:
        logger.warning("the tag %s of %s could not be removed and stays until maintenance removes it", name, identifier, exc_info=True)
