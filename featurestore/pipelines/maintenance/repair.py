"""Roll tables with missing files back to the last complete snapshot, from which the next run computes again what was lost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from featurestore.access.grants import grants_table
from featurestore.access.key_registry import API_KEYS
from featurestore.access.policies import policies_table
from featurestore.access.voided import void_property
from featurestore.lakehouse import tables
from featurestore.lakehouse.damage import Damage, find_damage, roll_back
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import ahead_of
from featurestore.pipelines.maintenance.pushed_repair import log_problem, rolled_back, take_log
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT
from featurestore.pipelines.training_sets import feature_statistics
from featurestore.records import definitions, editions, erasure_log, feature_table, model_events, traffic, version_log
from featurestore.records.feature_table import TYPES
from featurestore.records.leases import leases_table
from featurestore.records.runtime import Runtime
from featurestore.records.stored_sets import TAG
from featurestore.settings import Settings
from featurestore.sharing.recipients import RECIPIENT_KEYS
from featurestore.sharing.shares import shares_table
from featurestore.values.humanize import format_names
from featurestore.values.result import SNAPSHOT_ID, Result
from featurestore.values.table_names import KEPT_NAMESPACE

REPAIR_COMMAND = "featurestore doctor --repair"


@dataclass(frozen=True, eq=False)
class Repair(Result):
    """A table with missing files, and how it was repaired, or in a dry run would be.

    `missing` counts the missing files of the current snapshot; `first` is the path of one of them. `back_to` is the snapshot that the
    table is rolled back to; None if no earlier one is complete, and the table becomes empty. `training_sets` are the ids of those that
    need a missing file: they can no longer be read or rebuilt. `todo` says how to restore what was lost. A table of pushed events whose log
    was lost has no missing files; it goes on with the log that the settings name.
    """

    table: str
    missing: int
    first: str | None
    back_to: int | None = field(metadata=SNAPSHOT_ID)
    training_sets: tuple[str, ...]
    todo: str

    def __str__(self) -> str:
        missing = f"{self.missing} files of its current snapshot are missing, such as {self.first}" if self.missing else ""
        affected = f"the training sets {format_names(self.training_sets)} need files that are missing" if self.training_sets else ""
        return "; ".join(filter(None, (missing, affected)))


def repair(runtime: Runtime, dry_run: bool = False) -> list[Repair]:
    """Roll every table with missing files back to its last complete snapshot; a dry run only reports.

    Returns one entry for each table with missing files. Raises: CommitConflict if another writer committed first; NotReady.
    """
    return [report for name in table_identifiers(runtime) if (report := _repair_table(runtime, name, dry_run)) is not None]


def table_identifiers(runtime: Runtime) -> Iterator[str]:
    """Every table of the store: features, training sets, registry, logs."""
    for namespace in runtime.settings.own_namespaces:
        yield from (f"{namespace}.{name}" for name in tables.list_tables(runtime.catalog, namespace))


def check_table(runtime: Runtime, identifier: str, table: Table) -> Repair | None:
    """The missing files of one table; None if there are none."""
    damage = find_damage(table)
    return None if damage is None else _describe(runtime, identifier, damage)


def _repair_table(runtime: Runtime, identifier: str, dry_run: bool) -> Repair | None:
    table = tables.load(runtime.catalog, identifier)
    damage = find_damage(table)
    if damage is None:
        if (problem := log_problem(runtime, table)) is None:
            return None
        if not dry_run:
            take_log(runtime, table)
        return Repair(identifier, 0, None, None, (), problem)
    if damage.missing and not dry_run and _may_roll_back(runtime, identifier):
        _roll_back(runtime, identifier, table, damage)
    return _describe(runtime, identifier, damage)


def _may_roll_back(runtime: Runtime, identifier: str) -> bool:
    """Whether it is known what rolling back undoes: not of a registry that a later release has made."""
    settings = runtime.settings
    return identifier.rpartition(".")[0] != settings.registry_namespace or identifier in lost_in_registries(runtime)


def _roll_back(runtime: Runtime, identifier: str, table: Table, damage: Damage) -> None:
    namespace, _, name = identifier.rpartition(".")
    if namespace != runtime.settings.features_namespace:
        if identifier == policies_table(runtime.settings):
            _void(runtime, grants_table(runtime.settings))
            _void(runtime, shares_table(runtime.settings))
        # The lost files may have revoked what earlier ones grant.
        properties = void_property(table) if identifier in _revoking(runtime.settings) else rolled_back(runtime, table, damage)
        roll_back(table, damage, properties, ())
        runtime.online.touch()
        return
    summary = {} if damage.back_to is None else tables.summary(table, damage.back_to)
    properties = feature_table.state_of(summary).to_properties()
    roll_back(table, damage, properties, [CHECKPOINT, *([] if TYPES in properties else [TYPES])])
    # The online rows are of the lost snapshot; the next run publishes them again.
    runtime.online.drop(name)
    runtime.online.drop(ahead_of(name))
    runtime.online.touch()


def _revoking(settings: Settings) -> tuple[str, ...]:
    """The registries whose lost files may have revoked what earlier ones allow."""
    return (API_KEYS.keys_table(settings), RECIPIENT_KEYS.keys_table(settings), grants_table(settings), shares_table(settings))


def _void(runtime: Runtime, registry: str) -> None:
    """The lost policies may have masked what grants and shares let somebody read: none holds until the policies are there again."""
    table = tables.find(runtime.catalog, registry)
    if table is not None:
        tables.set_properties(table, void_property(table))


def _describe(runtime: Runtime, identifier: str, damage: Damage) -> Repair:
    settings = runtime.settings
    todo = {
        settings.features_namespace: "run featurestore materialize, which computes again what was lost",
        KEPT_NAMESPACE: "run featurestore materialize, which copies again what was lost, and of pushed events what the log still has",
        settings.training_sets_namespace: "build the named training sets again; all others are complete",
        settings.registry_namespace: lost_in_registries(runtime).get(
            identifier, "it is not rolled back, since this release does not know what that would undo: restore its files from a backup"
        ),
    }.get(identifier.rpartition(".")[0], "rows logged since then are lost")
    ids = tuple(name.removeprefix(TAG) for name in damage.tags if name.startswith(TAG))
    first = damage.missing[0] if damage.missing else None
    if not damage.missing:
        todo = "build them again: files of the snapshots that they pin are gone"
    return Repair(identifier, len(damage.missing), first, damage.back_to, ids, todo)


def lost_in_registries(runtime: Runtime) -> Mapping[str, str]:
    """By registry, how to restore what its lost files had."""
    settings = runtime.settings
    return {
        definitions.registry_table(runtime): "run featurestore apply, which registers the definitions again",
        API_KEYS.keys_table(settings): "all API keys are revoked, since the lost files may have revoked any of them: create them again",
        grants_table(settings): "no grant holds any more, since the lost files may have revoked any of them: grant again, or apply"
        " definitions with grants",
        policies_table(
            settings
        ): "apply definitions with all policies, and then grant and share again: no grant and no share holds any more, since the lost files"
        " may have had a mask or a filter",
        API_KEYS.uses_table(settings): "when keys were used is lost",
        shares_table(settings): "all shares and recipients are gone, since the lost files may have revoked any of them: make them again",
        RECIPIENT_KEYS.keys_table(settings): "all keys of recipients of shares are revoked, since the lost files may have revoked any of"
        " them: rotate them",
        RECIPIENT_KEYS.uses_table(settings): "when keys of recipients were used is lost",
        erasure_log.log_name(runtime): "certificates since then are lost: erase these keys again",
        version_log.log_name(runtime): "named versions since then are lost: set them again",
        traffic.traffic_table(settings): "splits since then are lost: set them again (featurestore traffic)",
        model_events.model_events_table(settings): "approvers and reasons since then are lost; the aliases are those of MLflow",
        feature_statistics.statistics_table(runtime): "statistics of training sets that were built since then are lost",
        editions.editions_table(settings): "run featurestore publish, which records what the online store has",
        leases_table(settings): "nothing: runs take their leases again",
    }
