"""The methods of a store that remove, maintain, pin, erase and repair what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from featurestore import verbs
from featurestore.records.names import service_name, view_name
from featurestore.store.connections import Connections
from featurestore.store.recorded import recorded
from featurestore.values.arguments import WAIT, check_column_names, check_flag, check_name, check_version, check_wait

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.erasure_result import Erasure
    from featurestore.pipelines.maintenance.maintain import TableMaintenance
    from featurestore.pipelines.maintenance.named_version import NamedVersion
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.maintenance.repair import Repair
    from featurestore.pipelines.maintenance.training_set_removal import TrainingSetRemoval


class MaintenanceVerbs(Connections):
    """Remove versions and training sets, maintain tables, pin snapshots, erase keys, and repair."""

    @recorded
    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """Remove an older version of a view: its registry entry, its online rows, its table with all files.

        A dry run changes nothing. Raises: NotFound; Conflict naming the services, registered models and training sets that need it.
        """
        return verbs.remove_version(self._runtime, view_name(view), check_version(version), check_flag(dry_run, "dry_run"))

    @recorded
    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """Remove a view with all its versions. Its version numbers are not reused. Raises: as `remove_version`."""
        return verbs.remove_view(self._runtime, view_name(view), check_flag(dry_run, "dry_run"))

    @recorded
    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """Remove a service with all its versions. Views and models trained with it are kept. Raises: NotFound."""
        return verbs.remove_service(self._runtime, service_name(service), check_flag(dry_run, "dry_run"))

    @recorded
    def remove_training_set(self, id: str, dry_run: bool = False) -> TrainingSetRemoval:
        """Remove a training set that no model was trained on, with its rows and statistics. The snapshots that it pins expire like any
        other then.

        A dry run changes nothing. Raises: NotFound with the nearest ids; Conflict naming the models that were trained on it, and the tags
        that pin it.
        """
        return verbs.remove_training_set(self._runtime, check_name(id, "id"), check_flag(dry_run, "dry_run"))

    @recorded
    def maintain(
        self,
        older_than: timedelta = timedelta(days=7),
        dry_run: bool = False,
        drop_superseded_after: timedelta | None = None,
        wait: timedelta = WAIT,
    ) -> list[TableMaintenance]:
        """Expire snapshots that nothing pins, remove orphan files, and compact small files into sorted ones.

        Only snapshots and files older than `older_than` are removed. With `drop_superseded_after`, versions of rows that were superseded
        longer ago than that are dropped from the feature tables' new snapshots: `known="then"` is exact only for later times.

        One process at a time maintains a store: another one is waited for, for up to `wait`. A table that is being materialized is not
        compacted, and its `note` says so.

        Returns one result per table; in a dry run, what would be done. Raises: LeaseHeld.
        """
        if not check_flag(dry_run, "dry_run"):
            verbs.flush_audit_log(self._runtime)
        return verbs.maintain(self._runtime, older_than, dry_run, drop_superseded_after, check_wait(wait))

    @recorded
    def tag(self, name: str, tables: str | Sequence[str] | None = None, *, by: str | None = None) -> NamedVersion:
        """Pin the current snapshots of tables under a name: from then on `@name` stands for them wherever a snapshot is accepted, and each
        has an Iceberg tag of this name, so that it does not expire.

        `tables` are views, feature tables or any tables of the catalog with their namespaces; None: every feature table, and every table
        that views and the spines of training sets read. `by` is recorded; default: the user. A tag is never moved: a second call with the
        same snapshots returns the first. An interrupted call is finished by the next one. Raises: RequestError; NotFound; Conflict if the
        name stands for other snapshots.
        """
        listed = None if tables is None else check_column_names(tables, "tables")
        names = None if listed is None else [verbs.local_table(self._runtime, table, "tables") for table in listed]
        return verbs.tag_tables(self._runtime, name, names, self._runtime.author or None if by is None else check_name(by, "by"))

    def tags(self) -> list[NamedVersion]:
        """The named versions that `tag` made, newest first."""
        return verbs.list_versions(self._runtime)

    @recorded
    def remove_tag(self, name: str) -> NamedVersion:
        """Remove a named version, so that its snapshots expire like any other; training sets made from it are kept. Raises: NotFound."""
        return verbs.remove_tag(self._runtime, check_name(name, "name"))

    @recorded
    def erase(self, entity: str, key: Any, dry_run: bool = False, *, by: str | None = None) -> Erasure:
        """Erase the rows of an entity's key (a value, or a dict of its key columns) from every snapshot of the feature tables with these
        key columns, from training sets, logged predictions and their statistics, and from the online store.

        Files with such rows are written again without them, and the old ones deleted at once, so that a read in progress fails; snapshot
        ids, tags and the ids of training sets stay. A training set that lost rows has another digest, with which it is rebuilt, and its
        manifest has the one before. `remaining` of the result names what is not the store's: source tables, files, logs of other programs.
        A dry run only counts. An interrupted call is finished by the same call.

        Raises: NotFound with the nearest entities; RequestError; Conflict for a catalog that is not in a database.
        """
        who = self._runtime.author or None if by is None else check_name(by, "by")
        return verbs.erase(self._runtime, check_name(entity, "entity"), key, who, check_flag(dry_run, "dry_run"))

    def erasures(self) -> list[Erasure]:
        """The certificates of all erasures, newest first; one that is not `finished` was interrupted."""
        return verbs.list_erasures(self._runtime)

    @recorded
    def repair(self, dry_run: bool = False) -> list[Repair]:
        """Roll every table with missing files back to its last complete snapshot; a dry run changes nothing.

        The next `materialize` computes again what was lost. Returns one result per table with missing files; empty if there are none.
        """
        return verbs.repair(self._runtime, check_flag(dry_run, "dry_run"))
