"""The feature store: the verbs, wired together."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from featurestore import progress as shown
from featurestore import verbs
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.csv import Csv
from featurestore.errors import FeatureStoreError, RequestError, brief
from featurestore.records import definitions, describe, health
from featurestore.records.definitions import Applied
from featurestore.records.live_versions import live_versions
from featurestore.records.names import service_name, view_name, view_names
from featurestore.records.online_tables import Filling
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import Services
from featurestore.settings import Settings, load_settings
from featurestore.values import times
from featurestore.values.arguments import Failures, Known, flag, known_at, on_failures, text, version_number

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from featurestore.engine.evaluator import ExpressionEvaluator
    from featurestore.pipelines.lookup import OnlineFeatures
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.materialization.outcome import Materializations
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.pipelines.training_sets import splits
    from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
    from featurestore.pipelines.training_sets.progress import OnBuildProgress
    from featurestore.pipelines.training_sets.training_set import TrainingSet

MODELS = re.compile(r"(?:models|runs):/[^/]")
"""Addresses that MLflow itself resolves; others would make it ask whatever server they name."""


class FeatureStore:
    """A feature store over one Iceberg catalog and one online store.

    `home` holds all default state; `settings` replaces every other way of configuring. Nothing is opened before it is
    used. The store may be used from several threads, and as a context manager that closes it.
    """

    def __init__(self, home: str | Path | None = None, *, settings: Settings | None = None) -> None:
        if home is not None and settings is not None:
            raise RequestError("give FeatureStore either home= or settings=, not both; Settings has a home of its own")
        self.settings = settings if settings is not None else load_settings(home=home)
        self._runtime = Runtime(self.settings)
        self._filling = Filling(self._runtime)
        self._services = Services(self._runtime, self._filling)

    def confined(self, endable: ExpressionEvaluator | None = None) -> FeatureStore:
        """The same store for what others ask for, as a server's clients do: it reads no file that they name but below `source_folders`,
        and takes no model's address but MLflow's `models:/` and `runs:/`. `endable` computes derived features that may take long.
        """
        found = copy.copy(self)
        found._runtime = self._runtime.confined(endable)
        return found

    @property
    def catalog(self) -> Catalog:
        """The pyiceberg catalog, for loading source tables of one's own."""
        return self._runtime.catalog

    def plan(self, definitions: Any) -> Plan:
        """What applying these definitions would change; nothing is written.

        `definitions` is a folder, a file, a module, or a list of definition objects. Raises: DefinitionError.
        """
        return verbs.plan(self._runtime, verbs.load(definitions))

    def apply(self, definitions: Any) -> Plan:
        """Do a plan, or plan and do definitions: register versions and make their empty tables, all or nothing.

        Where someone else applied meanwhile, definitions are planned again and applied on top of that; a plan only if it still comes
        to the same. Returns the plan that was done. Raises: CommitConflict saying what was applied meanwhile.
        """
        shown = isinstance(definitions, verbs.Plan)
        return verbs.apply(self._runtime, definitions if shown else self.plan(definitions), as_shown=shown)

    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: shown.OfMaterialization = None,
        failures: Failures = "raise",
    ) -> Materializations:
        """Bring views (all when no name is given) up to `end`, feature tables and online store alike.

        `start` None goes on from the watermark, and back to whatever changed in the source since; `end` None, or one in
        the future, is now. Both ends are inclusive. Appends only what is new or changed, so a second run appends nothing.
        Older versions of a view that a served service or a logged model still reads are brought up to date after the newest.
        `progress` is told how far each view is; True shows bars.

        A view that fails keeps no other from being brought up to date. At the end its error is raised, or of several views
        MaterializationFailed; with failures="return" they are the result's `failures`.
        """
        raised = on_failures(failures) == "raise"
        versions = self._live_versions(names)
        bounds = [None if bound is None else times.parse(bound, what) for bound, what in ((start, "start"), (end, "end"))]
        with shown.of_materialization(progress) as report:
            done = verbs.materialize_views(self._runtime, versions, bounds[0], bounds[1], report or _silent)
        if raised and (error := done.error) is not None:
            raise error
        return done

    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[dict[str, Any]]:
        """Bring the online store to the feature tables of views (all when no name is given) as the next `materialize` would, computing
        nothing. With `full`, all rows of each table take the place of what is online of it.

        Returns a dict for each version that is kept fresh: view, table, rows written, snapshot_id (None: never materialized, or no rows).
        """
        return verbs.publish_views(self._runtime, self._live_versions(names), flag(full, "full"))

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[dict[str, Any]]:
        """Compare what the online store holds of views (all when no name is given) with the newest rows of their feature tables, as of
        the snapshot that it says it holds: bit for bit, so that -0.0 is not 0.0, and NaN is NaN. `sample` bounds the rows, drawn anew
        each time, whose values are compared, and the keys online that are looked for in the table.

        Returns a dict for each version that is kept fresh: view, table, snapshot_id, rows compared, same; missing, changed and extra
        rows online; differences, the first thousand: key, what, and for a changed value feature, online and table.
        """
        if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or sample < 1):
            raise RequestError(f"sample={brief(sample)} is not a number of rows: give 1 or more, or nothing for all rows", field="sample")
        return [one.to_dict() for one in verbs.compare_views(self._runtime, self._live_versions(names), sample)]

    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """Remove an older version of a view: its registry entry, its online rows, its table with all files.

        A dry run only looks. Raises: NotFound; Conflict naming the services, registered models and training sets that need it.
        """
        return verbs.remove_version(self._runtime, view_name(view), version_number(version), flag(dry_run, "dry_run"))

    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """Remove a view with all its versions. Its numbers are never given again. Raises: as `remove_version`."""
        return verbs.remove_view(self._runtime, view_name(view), flag(dry_run, "dry_run"))

    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """Remove a service with all its versions. Views, and models that were trained with it, stay. Raises: NotFound."""
        return verbs.remove_service(self._runtime, service_name(service), flag(dry_run, "dry_run"))

    def maintain(
        self, older_than: timedelta = timedelta(days=7), dry_run: bool = False, fold_older_than: timedelta | None = None
    ) -> list[dict[str, Any]]:
        """Expire snapshots that nothing pins, sweep files that no kept snapshot reaches, and make few sorted files of many small ones.

        What goes is older than `older_than`. With `fold_older_than`, corrections that were superseded longer ago are left out of the
        feature tables' new snapshots: `known="then"` is exact from that age on only.

        Returns a dict for each table: table; snapshots expired; files and bytes removed; compacted_files and compacted_bytes;
        folded_rows; note, which says what was left undone and why (None: nothing). In a dry run, what would be.
        """
        return [one.to_dict() for one in verbs.maintain(self._runtime, older_than, flag(dry_run, "dry_run"), fold_older_than)]

    def repair(self, dry_run: bool = False) -> list[dict[str, Any]]:
        """Lead every table that lacks files of its current snapshot back to the last snapshot that is whole; a dry run only looks.

        The next `materialize` computes again what was lost. Returns a dict for each table that lacks files: table; missing, their
        number, and first, one of them; back_to, a snapshot id (None: the table is empty now); training_sets, the ids of those that
        need a missing file; todo. None of it where all files are there.
        """
        return [one.to_dict() for one in verbs.repair(self._runtime, flag(dry_run, "dry_run"))]

    def training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Mapping[str, int | None] | None = None,
        split: splits.SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        progress: shown.OfTrainingSet = None,
        format: Csv | None = None,
    ) -> TrainingSet:
        """Join a spine with a service's features as of each row's `timestamp`, and store the result as a tagged snapshot.

        `spine`: a pandas or polars frame, an Arrow table or reader, a list of dicts, a path or glob of Parquet or CSV,
        "iceberg:namespace.table[@snapshot]", or a SELECT over Iceberg tables. Every row of it comes out once and in order.
        Without a spine, `start`, `end` and `every` ("1d") make one: each key that the service's feature tables hold at each of
        the times start, start + every, ... up to `end`, in the column `timestamp`.
        `known="then"` sees only what was created by then. `snapshots` pins feature tables; None takes the current ones.
        `split` gives each row a part: {"train": 0.8, "test": 0.2} by a hash of the columns `by` (the service's keys when left out),
        {"train": "2026-03-01", "test": None} by time, each end not included. The same request on the same snapshots returns the
        training set that is there. `progress` is told how far the build is; True shows a bar. `format` says how a spine's CSV files are
        written, as a source's does.
        """
        asked_for = (service, spine, timestamp, label, name, known, snapshots, split, by, start, end, every)
        with shown.of_training_set(progress) as report:
            return self.build_training_set(self.prepare_training_set(*asked_for, format=format), report)

    def prepare_training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Mapping[str, int | None] | None = None,
        split: splits.SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> PreparedTrainingSet:
        """The first half of `training_set`, for servers: read the spine, pin the snapshots, and so know the `id`."""
        given, column = verbs.asked(spine, timestamp, start, end, every, format)
        service = service_name(service)
        resolved = self._services.resolve(service)
        return verbs.prepare_training_set(
            self._runtime,
            resolved,
            given,
            timestamp=column,
            label=label,
            name=service if name is None else name,
            known=known,
            snapshots=snapshots,
            split=split,
            by=by,
        )

    def build_training_set(self, prepared: PreparedTrainingSet, progress: OnBuildProgress | None = None) -> TrainingSet:
        """The second half: join and store."""
        written = None if progress is None else verbs.report_rows_written(prepared.spine.rows, progress)
        return verbs.build_training_set(self._runtime, prepared, written)

    def spooled_training_set(self, folder: Path) -> PreparedTrainingSet:
        """What `spool` wrote to a folder, to be built by this process. Raises: NotFound when a snapshot that it pins is gone."""
        return verbs.load_spooled(self._runtime, folder)

    def get_training_set(self, id: str) -> TrainingSet:
        """A stored training set. Raises: NotFound with the nearest ids."""
        return verbs.get_training_set(self._runtime, text(id, "id"))

    def find_training_set(self, id: str) -> TrainingSet | None:
        """A stored training set; None when there is none of this id."""
        return verbs.find_training_set(self._runtime, text(id, "id"))

    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """Compute a training set again from its pinned snapshots alone and compare; a model URI stands for the one it carries.

        Raises: DigestMismatch naming the columns that differ.
        """
        return verbs.rebuild_training_set(self._runtime, self._id(id_or_model_uri, "id_or_model_uri"))

    def compare(self, a: str, b: str) -> dict[str, Any]:
        """What training set `b` has otherwise than `a`: definitions, rows, values, drift, and what changed them.

        A model URI stands for the training set it carries. Raises: NotFound with the nearest ids; RequestError where their keys
        have other columns.
        """
        return verbs.compare_training_sets(
            self._runtime, *(self.get_training_set(self._id(given, what)) for given, what in ((a, "a"), (b, "b")))
        )

    def point_in_time(
        self,
        service: str | ServicePlan,
        spine: Any = None,
        timestamp: str | None = None,
        known: Known = "now",
        snapshots: Mapping[str, int | None] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> pa.Table:
        """The spine, or one made as for `training_set`, with a service's features as of each row's time, in memory and not stored."""
        given, column = verbs.asked(spine, timestamp, start, end, every, format)
        wanted = service if isinstance(service, ServicePlan) else self._services.resolve(service).plan
        known = known_at(known)
        pinned = verbs.pin(self._runtime, wanted, snapshots)
        rows = verbs.read_spine(self._runtime, given, wanted, column, pinned, known)
        with verbs.join_pinned(self._runtime, wanted, rows, pinned, known) as joined:
            return pa.Table.from_batches(verbs.bounded_result(joined.batches), joined.schema)

    def online_features(
        self, service: str | ServicePlan, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """The newest features of each entity, from the online store: what a training set would hold at this moment.

        Raises: NotReady when the online store has nothing of a view that was materialized.
        """
        wanted = service if isinstance(service, ServicePlan) else self._services.current(service)
        return verbs.lookup(self._runtime, wanted, entities, request, self._filling)

    def service_plan(self, service: str) -> ServicePlan:
        """The service resolved to its newest version whose views are materialized."""
        return self._services.resolve(service).plan

    def current_plan(self, service: str) -> ServicePlan:
        """The version that `online_features` serves: from memory unless something was applied or published since."""
        return self._services.current(service)

    def held_plan(self, service: str) -> ServicePlan | None:
        """The same where it takes no reading of the catalog; None where it does. For callers that must not wait."""
        return self._services.held(service)

    def entities(self) -> list[dict[str, Any]]:
        """The applied entities."""
        return describe.plain(self._runtime, "entity")

    def sources(self) -> list[dict[str, Any]]:
        """The applied sources."""
        return describe.plain(self._runtime, "source")

    def views(self) -> list[dict[str, Any]]:
        """The newest version of every view, with its snapshot and watermark."""
        return describe.views(self._runtime)

    def view(self, name: str) -> dict[str, Any]:
        """One view with all versions and the SQL of the newest. Raises: NotFound with the nearest names."""
        return describe.view(self._runtime, view_name(name))

    def services(self) -> list[dict[str, Any]]:
        """Every service at the version that is served."""
        return describe.services(self._runtime)

    def service(self, name: str) -> dict[str, Any]:
        """One service: features, request fields, key columns, versions. Raises: NotFound with the nearest names."""
        return describe.service(self._runtime, service_name(name))

    def training_sets(self) -> list[dict[str, Any]]:
        """Every training set, newest first."""
        return verbs.list_training_sets(self._runtime)

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model that was logged with a training set, newest first, with its aliases."""
        return describe.models(self._runtime)

    def check(self, write: bool = False) -> dict[str, FeatureStoreError | None]:
        """What catalog, warehouse and online store say when they are asked for something small; None when they answer.

        With `write` an object is put into the warehouse and taken away.
        """
        return health.check(self._runtime, flag(write, "write"))

    def close(self) -> None:
        """Close what was opened. A closed store opens anew when it is used again."""
        self._runtime.close()
        self._runtime = Runtime(self.settings)
        self._filling = Filling(self._runtime)
        self._services = Services(self._runtime, self._filling)

    def _live_versions(self, names: str | Sequence[str] | None) -> Iterator[Applied]:
        """The versions of views to keep fresh. Raises: NotFound with the nearest names."""
        known = definitions.read(self._runtime)
        given = view_names(names)
        wanted = known.names("view") if given is None else given
        for name in wanted:
            known.get("view", name)
        return live_versions(self._runtime, known, wanted)

    def _id(self, id_or_model_uri: str, what: str) -> str:
        text(id_or_model_uri, what)
        # An id has no slash; addresses such as models:/churn/1 and the folder of a model have.
        if "/" not in id_or_model_uri:
            return id_or_model_uri
        if self._runtime.source_folders is not None and not MODELS.match(id_or_model_uri):
            raise RequestError("give the id of a training set, or a model's address such as models:/churn/1 or runs:/.../model")
        # mlflow takes a second to import and may not be installed, and only a model's address needs it.
        from featurestore.models.stamp import training_set_id  # noqa: PLC0415

        return training_set_id(id_or_model_uri, self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _silent(progress: object) -> None:
    """No one is watching."""
