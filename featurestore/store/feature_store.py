"""`FeatureStore`: the methods that compute, join, look up and maintain."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore import verbs
from featurestore.backend import is_model_uri
from featurestore.compiler.service_plan import ServicePlan
from featurestore.dsl.csv_format import Csv
from featurestore.errors import DigestMismatch, RequestError
from featurestore.progress import MaterializationProgress, TrainingSetProgress, materialization_reporter, training_set_reporter
from featurestore.records import definitions
from featurestore.records.definitions import Applied
from featurestore.records.live_versions import live_versions
from featurestore.records.names import view_names
from featurestore.store.access import AccessVerbs
from featurestore.store.audit_log import AuditLogVerbs
from featurestore.store.governance import Governance
from featurestore.store.listings import Listings
from featurestore.store.maintenance import MaintenanceVerbs
from featurestore.store.recorded import recorded
from featurestore.store.sharing import SharingVerbs
from featurestore.store.table_verbs import TableVerbs
from featurestore.values import times
from featurestore.values.arguments import (
    WAIT,
    Failures,
    Known,
    Snapshots,
    check_failures,
    check_flag,
    check_sample,
    check_text,
    check_wait,
)

if TYPE_CHECKING:
    from featurestore.access.rights import Rights
    from featurestore.engine.session import ExpressionEvaluator
    from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
    from featurestore.pipelines.materialization.edition import Publication
    from featurestore.pipelines.materialization.outcome import Materializations
    from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.pipelines.training_sets import splits
    from featurestore.pipelines.training_sets.comparison_result import Comparison
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.records.reader import Reader


class FeatureStore(Listings, Governance, AccessVerbs, SharingVerbs, AuditLogVerbs, MaintenanceVerbs, TableVerbs):
    """A feature store over one Iceberg catalog and one online store.

    `home` is the folder of all default state; `settings` replaces all other configuration. Connections are opened on first use. The
    store is thread-safe, and a context manager that closes it.
    """

    def plan(self, definitions: Any) -> Plan:
        """What applying these definitions would change; nothing is written.

        `definitions` is a folder, a file, a module, or a list of definition objects. Raises: DefinitionError.
        """
        return verbs.make_plan(self._runtime, verbs.load_definitions(definitions))

    @recorded
    def apply(self, definitions: Any) -> Plan:
        """Apply a plan or definitions: register versions and create their empty tables, all or nothing.

        If another process has applied changes concurrently, definitions are planned again on top of them; a plan is applied only if it
        would still be the same. Returns the applied plan. Raises: CommitConflict naming the concurrent changes.
        """
        shown = isinstance(definitions, verbs.Plan)
        applied = verbs.apply_plan(self._runtime, definitions if shown else self.plan(definitions), as_shown=shown)
        # Pushes of this process meet the new schemas at once; other processes look within half a second.
        self._runtime.push_targets.clear()
        return applied

    @recorded
    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: MaterializationProgress = None,
        failures: Failures = "raise",
        wait: timedelta = WAIT,
    ) -> Materializations:
        """Compute views (default: all) up to `end`, into feature tables and the online store.

        `start` None continues from the watermark, and recomputes what changed in the source before it; `end` None, or a time in the
        future, means now. Both bounds are inclusive. Appends only new and changed rows, so that a second run appends nothing. Older
        versions of a view that a served service or a logged model still reads are updated after the newest. `progress` is called with
        the progress of each view; True shows progress bars.

        One process at a time computes a view: another one is waited for, for up to `wait`; then the view fails with LeaseHeld.

        If a view fails, the others are still updated. At the end its error is raised, or MaterializationFailed for several; with
        failures="return" they are in the result's `failures`.
        """
        raised = check_failures(failures) == "raise"
        staged: set[str] = set()
        seen: list[Applied] = []
        versions = _noted(self._live_versions(names, staged, computed=True), seen)
        bounds = [None if bound is None else times.parse(bound, what) for bound, what in ((start, "start"), (end, "end"))]
        with materialization_reporter(progress) as report:
            done = verbs.materialize_views(self._runtime, versions, bounds[0], bounds[1], report or _silent, staged, check_wait(wait))
        verbs.catch_up(self._runtime, seen)
        if raised and (error := done.error) is not None:
            raise error
        return done

    @recorded
    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[Publication]:
        """Publish the feature tables of views (default: all) to the online store, as the next `materialize` would, without computing
        anything. With `full`, all online rows of each table are replaced.

        Returns one result per live version. Raises: NotFound with the nearest names.
        """
        versions = list(self._live_versions(names))
        published = verbs.publish_views(self._runtime, versions, check_flag(full, "full"))
        verbs.catch_up(self._runtime, versions)
        return published

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[OnlineComparison]:
        """Compare the online rows of views (default: all) with the newest rows of their feature tables, at the snapshot that was published
        last, bit for bit: -0.0 differs from 0.0, and NaN equals NaN. `sample` limits the comparison to so many random rows of each
        table, and as many random online keys.

        Returns one result per live version. Raises: NotFound with the nearest names; CommitConflict if a table is published all the time.
        """
        return verbs.compare_views(self._runtime, self._live_versions(names), check_sample(sample))

    @recorded
    def training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        split: splits.SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        progress: TrainingSetProgress = None,
        format: Csv | None = None,
    ) -> TrainingSet:
        """Join a spine with a service's features as of each row's `timestamp`, and store the result as a tagged snapshot.

        `spine`: a pandas or polars frame, an Arrow table or reader, a list of dicts, a path or glob of Parquet or CSV,
        "iceberg:namespace.table[@snapshot]" with an id or a tag, or a SELECT over Iceberg tables. Each row appears once in the result, in
        order.
        Without a spine, `start`, `end` and `every` ("1d") define one: each key of the service's feature tables at each of the times
        start, start + every, ... up to and including `end`, in the column `timestamp`.
        `known="then"` uses only rows that were created by the row's time. `snapshots` pins feature tables, by id
        ({"orders_v1": 123}) or by tag ("@release-2026-11" for all of them); default: their current snapshots.
        `split` assigns each row to a part: {"train": 0.8, "test": 0.2} by a hash of the columns `by` (default: the service's keys), or
        {"train": "2026-03-01", "test": None} by time, each end exclusive. The same request on the same snapshots returns the existing
        training set. `progress` is called with the progress of the build; True shows a progress bar. `format` is the format of a
        spine's CSV files, as for a source.
        """
        request = verbs.TrainingSetRequest.of(
            service,
            spine,
            timestamp,
            start=start,
            end=end,
            every=every,
            format=format,
            known=known,
            snapshots=snapshots,
            label=label,
            name=name,
            split=split,
            by=by,
        )
        with training_set_reporter(progress) as report:
            return self.backend.build_training_set(self.backend.prepare_training_set(request), report)

    @recorded
    def get_training_set(self, id: str) -> TrainingSet:
        """A stored training set. Raises: NotFound with the nearest ids."""
        return verbs.get_training_set(self._runtime, check_text(id, "id"))

    @recorded
    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """Compute a training set again from its pinned snapshots alone, and compare. A model URI stands for the model's training set.

        Raises: DigestMismatch naming the columns that differ.
        """
        return verbs.rebuild_training_set(self._runtime, self._id(id_or_model_uri, "id_or_model_uri"))

    def compare(self, a: str, b: str) -> Comparison:
        """The differences of training set `b` from `a`: definitions, rows, values, drift, and their causes.

        A model URI stands for the model's training set. Raises: NotFound with the nearest ids; RequestError if their key columns
        differ.
        """
        return verbs.compare_training_sets(self._runtime, *(self.get_training_set(self._id(id, what)) for id, what in ((a, "a"), (b, "b"))))

    @recorded
    def point_in_time(
        self,
        service: str | ServicePlan,
        spine: Any = None,
        timestamp: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> pa.Table:
        """The spine, or a grid as in `training_set`, with a service's features as of each row's time, in memory without storing it."""
        named = service.service if isinstance(service, ServicePlan) else service
        request = verbs.JoinRequest.of(
            named, spine, timestamp, start=start, end=end, every=every, format=format, known=known, snapshots=snapshots
        )
        plan = service if isinstance(service, ServicePlan) else self._services.resolve(service).plan
        pinned = verbs.pin(self._runtime, plan, request.snapshots)
        rows = verbs.read_spine(self._runtime, request, plan, pinned)
        with verbs.join_pinned(self._runtime, plan, rows, pinned, request.known) as joined:
            return pa.Table.from_batches(verbs.bounded_result(joined.batches), joined.schema)

    @recorded
    def online_features(
        self, service: str | ServicePlan, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """The newest features of each entity, from the online store: the values that a training set would have as of now.

        Raises: NotReady if the online store has lost the rows of a materialized view.
        """
        plan = service if isinstance(service, ServicePlan) else self._services.current(service)
        row_policies = self._services.row_policies(self._runtime.reader, plan)
        return verbs.lookup(
            self._runtime, plan, entities, request, self._online_tables, policies=self._services.policies, row_policies=row_policies
        )

    def _live_versions(self, names: str | Sequence[str] | None, staged: Collection[str] = (), computed: bool = False) -> Iterator[Applied]:
        """The versions of views to keep up to date; `staged` tables are about to be published. `computed`: not those of written tables.

        Raises: NotFound with the nearest names; RequestError for a written table where a computed view is wanted.
        """
        known = definitions.read_registry(self._runtime)
        requested = view_names(names)
        selected = known.names("view") if requested is None else requested
        written = {name for name in selected if known.get("view", name).written} if computed else set()
        if requested is not None and written:
            raise RequestError(
                f"{min(written)} is a table made by create_table: its rows come from write_table, not from a source", field="names"
            )
        return live_versions(self._runtime, known, [name for name in selected if name not in written], staged)

    def _id(self, id_or_model_uri: str, what: str) -> str:
        if not is_model_uri(self._runtime, id_or_model_uri, what):
            return id_or_model_uri
        # mlflow takes a second to import and may not be installed, and only a model URI needs it.
        from featurestore.models.stamps.stamp import stamped_digest  # noqa: PLC0415

        id, digest = stamped_digest(id_or_model_uri, self._runtime)
        stored = self.get_training_set(id)
        if not stored.had_digest(digest):
            recorded = stored.digest
            raise DigestMismatch(
                f"the stamp of {id_or_model_uri} has the digest {digest} for training set {id}, which is recorded with {recorded}: the"
                " stamp or the training set was changed; log the model again with the training set that it was trained on",
                recorded=recorded,
                stamped=digest,
            )
        return id


def confine(
    store: FeatureStore, endable: ExpressionEvaluator | None = None, author: str | None = None, rights: Rights | None = None
) -> FeatureStore:
    """The same store for requests of untrusted clients: it reads only files below `source_folders`, and accepts only model URIs that
    start with `models:/` or `runs:/`. `endable` evaluates derived features whose computation may have to be terminated.
    Changes are recorded as those of `author`, by default the user of this process. Rows are read as `rights` allow, by default all.
    """
    confined = copy.copy(store)
    confined._runtime = store._runtime.for_requests(endable)
    if author is not None:
        confined._runtime = confined._runtime.for_author(author)
    if rights is not None and not rights.is_unlimited:
        confined._runtime = confined._runtime.for_reader(rights)
    # Requests and jobs are recorded by those who answer them.
    confined._audit_log = None
    return confined


def read_as(store: FeatureStore, reader: Reader) -> FeatureStore:
    """The same store, which reads rows as a principal may: its policies are in force."""
    limited = copy.copy(store)
    limited._runtime = store._runtime.for_reader(reader)
    return limited


def _silent(progress: object) -> None:
    """Ignore progress."""


def _noted(versions: Iterable[Applied], seen: list[Applied]) -> Iterator[Applied]:
    """The versions as they are asked for, each of which is then in `seen`."""
    for version in versions:
        seen.append(version)
        yield version
