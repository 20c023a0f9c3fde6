"""Leading tables whose files were lost back to the last snapshot that is whole: what was lost is computed again from there."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from featurestore.lakehouse import tables, wholeness
from featurestore.lakehouse.tables import Table
from featurestore.lakehouse.wholeness import Damage
from featurestore.pipelines.materialization.checkpoint import UNFINISHED
from featurestore.pipelines.training_sets.training_set import TAG
from featurestore.records import feature_table
from featurestore.records.feature_table import TYPES
from featurestore.records.runtime import Runtime
from featurestore.values.humanize import listed

COMMAND = "featurestore doctor --repair"


@dataclass(frozen=True)
class Repair:
    """A table of which files are missing, and what was done about it, or would be.

    `missing` counts those of the current snapshot, and `first` is one of them. `back_to` is the snapshot that the table is led back to,
    None where nothing before it is whole either: it is empty then. `training_sets` are the ids of those that need a missing file:
    they cannot be read or rebuilt any more. `todo` says what brings back what was lost.
    """

    table: str
    missing: int
    first: str | None
    back_to: str | None
    training_sets: tuple[str, ...]
    todo: str

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {**asdict(self), "training_sets": list(self.training_sets)}

    def __str__(self) -> str:
        lost = f"{self.missing} files of its current snapshot are missing, such as {self.first}" if self.missing else ""
        named = f"the training sets {listed(self.training_sets)} need files that are missing" if self.training_sets else ""
        return "; ".join(filter(None, (lost, named)))


def repair(runtime: Runtime, dry_run: bool = False) -> list[Repair]:
    """Lead every table that lacks files of its current snapshot back to the last whole one; a dry run only looks.

    Returns one entry for each table that lacks any; none where all are there. Raises: CommitConflict where a writer was first, NotReady.
    """
    return [found for name in identifiers(runtime) if (found := _repaired(runtime, name, dry_run)) is not None]


def identifiers(runtime: Runtime) -> Iterator[str]:
    """Every table of the store, features first, the registry before logs."""
    settings = runtime.settings
    for namespace in (
        settings.features_namespace,
        settings.training_sets_namespace,
        settings.registry_namespace,
        settings.inference_namespace,
    ):
        yield from (f"{namespace}.{name}" for name in tables.list_tables(runtime.catalog, namespace))


def looked_at(runtime: Runtime, identifier: str, table: Table) -> Repair | None:
    """What is missing of one table; None if nothing is."""
    found = wholeness.damage(table)
    return None if found is None else _told(runtime, identifier, found)


def _repaired(runtime: Runtime, identifier: str, dry_run: bool) -> Repair | None:
    table = tables.load(runtime.catalog, identifier)
    found = wholeness.damage(table)
    if found is None:
        return None
    if found.missing and not dry_run:
        _lead_back(runtime, identifier, table, found)
    return _told(runtime, identifier, found)


def _lead_back(runtime: Runtime, identifier: str, table: Table, found: Damage) -> None:
    namespace, _, name = identifier.rpartition(".")
    if namespace != runtime.settings.features_namespace:
        wholeness.lead_back(table, found, {}, ())
        runtime.online.touch()
        return
    noted = {} if found.back_to is None else tables.summary(table, found.back_to.snapshot_id)
    properties = feature_table.state(noted).to_properties()
    wholeness.lead_back(table, found, properties, [UNFINISHED, *([] if TYPES in properties else [TYPES])])
    # What is online is of the snapshot that was lost: it is filled anew by the next run.
    runtime.online.drop(name)
    runtime.online.touch()


def _told(runtime: Runtime, identifier: str, found: Damage) -> Repair:
    settings = runtime.settings
    todo = {
        settings.features_namespace: "featurestore materialize computes again what was lost",
        settings.training_sets_namespace: "build the training sets that are named again; all others are whole",
        settings.registry_namespace: "featurestore apply registers again what the definitions say",
    }.get(identifier.rpartition(".")[0], "what was logged since is lost")
    ids = tuple(name.removeprefix(TAG) for name in found.tags if name.startswith(TAG))
    back_to = None if found.back_to is None else str(found.back_to.snapshot_id)
    first = found.missing[0] if found.missing else None
    if not found.missing:
        todo = "build them again: what they were made from is gone"
    return Repair(identifier, len(found.missing), first, back_to, ids, todo)
