"""What a build reads is tagged before it begins: for good once the training set is there, else until upkeep finds the build dead."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.commits import outcome_unknown
from featurestore.pipelines.training_sets.prepared import Prepared
from featurestore.pipelines.training_sets.training_set import TAG
from featurestore.records.runtime import Runtime
from featurestore.secrets import logger_of
from featurestore.values import times

logger = logger_of(__name__)


@contextmanager
def held(runtime: Runtime, prepared: Prepared, home: str) -> Iterator[None]:
    """Every snapshot that the training set pins is tagged, before the block begins; `home` is the table that the block writes it to.

    If the block raises, the tags that are new go again, but those that another build of the same has taken over meanwhile.
    Raises: NotFound if a snapshot has expired.
    """
    name = TAG + prepared.id
    note = json.dumps({"at": times.text(times.now()), "training_set": home, "build": uuid.uuid4().hex})
    begun: list[str] = []
    try:
        for table, at in prepared.pinned.items():
            identifier = runtime.features_table(table)
            if at.snapshot_id is not None:
                # Before it is tagged: an interrupt may come in between. Only a tag with this note is taken away.
                begun.append(identifier)
                tags.set_tag(at.table, name, at.snapshot_id, note)
        yield
    except BaseException as error:
        # Whoever interrupts or cancels a build does not want its tags either. If it may have landed all the same, upkeep will see.
        if not outcome_unknown(error) and not _may_be_there(runtime, home, name):
            for identifier in begun:
                _let_go(runtime, identifier, name, note)
        raise


def settle(runtime: Runtime, table: tables.Table, before: datetime, dry_run: bool) -> list[str]:
    """Tags of builds that began before then: those of training sets that are there are for good now, the others go.

    Returns the ids of the training sets that never came, or in a dry run would. Raises: CommitConflict if another writer changed one.
    """
    noted = {name: json.loads(note) for name, note in tags.notes(table).items()}
    due = {name: note["training_set"] for name, note in noted.items() if times.parse(note["at"], "at") < times.micros(before)}
    kept = [name for name, home in due.items() if _has_tag(runtime, home, name)]
    gone = [name for name in due if name not in kept]
    if due and not dry_run:
        tags.settle_tags(table, kept, gone)
    return [name.removeprefix(TAG) for name in gone]


def _has_tag(runtime: Runtime, home: str, name: str) -> bool:
    table = tables.find(runtime.catalog, home)
    return table is not None and name in tags.tags(table)


def _may_be_there(runtime: Runtime, home: str, name: str) -> bool:
    """Whether the table of training sets has this tag, or cannot be asked."""
    try:
        return _has_tag(runtime, home, name)
    except FeatureStoreError:
        logger.warning("the tags of a build that failed stay until upkeep finds them: %s cannot be read", home, exc_info=True)
        return True


def _let_go(runtime: Runtime, identifier: str, name: str, note: str) -> None:
    try:
        table = tables.load(runtime.catalog, identifier)
        if tags.notes(table).get(name) == note:
            tags.settle_tags(table, (), [name])
    except FeatureStoreError:
        logger.warning("the tag %s of %s stays until upkeep finds it", name, identifier, exc_info=True)
