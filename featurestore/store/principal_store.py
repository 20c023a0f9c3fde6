"""`PrincipalStore`: the methods of a store with the rights of one principal. Each checks them, and then calls the store's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.errors import NotFound
from featurestore.records.names import service_name, view_name, view_names
from featurestore.values.arguments import check_name, check_text

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.access.grant_results import GrantInfo
    from featurestore.access.key_results import ApiKey, CreatedKey
    from featurestore.access.principal import Principal
    from featurestore.access.rights import Rights
    from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead
    from featurestore.dsl.csv_format import Csv
    from featurestore.dsl.lookup import FeatureLookup
    from featurestore.pipelines.lineage.audit_result import Audit
    from featurestore.pipelines.lineage.history import TableEvent
    from featurestore.pipelines.lineage.impact_result import Impact
    from featurestore.pipelines.lineage.lineage_result import ColumnLineage
    from featurestore.pipelines.lineage.replay_result import Replay
    from featurestore.pipelines.lineage.traffic_comparison import TrafficComparison
    from featurestore.pipelines.lineage.traffic_result import Traffic
    from featurestore.pipelines.maintenance.erasure_result import Erasure
    from featurestore.pipelines.maintenance.maintain import TableMaintenance
    from featurestore.pipelines.maintenance.named_version import NamedVersion
    from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.maintenance.repair import Repair
    from featurestore.pipelines.maintenance.retention import RetainedSnapshot
    from featurestore.pipelines.maintenance.training_set_removal import TrainingSetRemoval
    from featurestore.pipelines.materialization.edition import Publication
    from featurestore.pipelines.materialization.outcome import Materializations
    from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.pipelines.training_sets.comparison_result import Comparison
    from featurestore.pipelines.training_sets.listing import TrainingSetInfo
    from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
    from featurestore.pipelines.training_sets.request import TrainingSetRequest
    from featurestore.pipelines.training_sets.splits import SplitRequest
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.pipelines.written.write import TableWrite, WriteMode
    from featurestore.progress import MaterializationProgress, TrainingSetProgress
    from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
    from featurestore.store.feature_store import FeatureStore
    from featurestore.values.arguments import Direction, Failures, Known, Snapshots

P = ParamSpec("P")
T = TypeVar("T")
Requirement = tuple[Privilege, Securable]
"""A privilege on an object."""


class PrincipalStore:
    """A store as one principal may use it. What it may not do raises Forbidden; lists have only what it may see.

    `FeatureStore` documents the methods. Closing it closes nothing: the store does.
    """

    def __init__(self, store: FeatureStore, rights: Rights, refresh: Callable[[], None] = lambda: None) -> None:
        """`refresh` is called before rights are looked at, to follow the grants."""
        self._store, self._given, self._refresh = copy.copy(store), rights, refresh
        self._store._acting = rights.principal.name
        if not rights.is_unlimited:
            self._store._runtime = store._runtime.for_reader(rights)
        self._training_sets = store.settings.training_sets_namespace

    @property
    def _rights(self) -> Rights:
        self._refresh()
        return self._given

    @property
    def principal(self) -> Principal:
        """Who uses the store."""
        return self._given.principal

    # training sets and joins

    def training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        split: SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        progress: TrainingSetProgress = None,
        format: Csv | None = None,
    ) -> TrainingSet:
        """READ on the service and on the tables of the spine; WRITE and READ on the training set's table."""
        named = service_name(service) if name is None else check_name(name, "name")
        self.require_all(self.needs_of_build(service_name(service), named))
        self._rights.require(Privilege.READ, Kind.TABLE, f"{self._training_sets}.{named}")
        return self._call(
            self._store.training_set,
            service,
            spine,
            timestamp,
            label,
            name,
            known,
            snapshots,
            split,
            by,
            start,
            end,
            every,
            progress,
            format,
        )

    def needs_of_build(self, service: str, name: str) -> list[Requirement]:
        """What the build of a training set needs: READ on its service, and WRITE on its table."""
        table = Securable(Kind.TABLE, f"{self._training_sets}.{name}")
        return [(Privilege.READ, Securable(Kind.SERVICE, service)), (Privilege.WRITE, table)]

    def require_all(self, requirements: Sequence[Requirement]) -> None:
        """Check several rights. Raises: Forbidden naming the first that is missing."""
        rights = self._rights
        for privilege, on in requirements:
            rights.require(privilege, on.kind, on.name)

    def prepare_training_set(self, request: TrainingSetRequest) -> PreparedTrainingSet:
        """The first stage of `training_set`, for servers: READ on the service and on the tables of the spine, WRITE on the table."""
        self.require_all(self.needs_of_build(request.service, request.name))
        return self._call(self._store.backend.prepare_training_set, request)

    def prepare_lookups(
        self, frame: Any, lookups: Any, label: str | None, exclude: Any, timestamp: str | None, **more: Any
    ) -> PreparedTrainingSet:
        """The first stage of `create_training_set`, for servers: an administrator."""
        self._require_unlimited("create_training_set")
        return self._store.backend.prepare_lookups(frame, lookups, label, exclude, timestamp, **more)

    def has_training_set(self, id: str) -> bool:
        """Whether a training set is done; for servers, which have checked what was asked for."""
        return self._store.backend.find_training_set(id) is not None

    def require_training_set(self, id: str, privilege: Privilege = Privilege.READ) -> None:
        """Check a privilege on the table of a training set; administrators may also name a model. Raises: Forbidden."""
        rights = self._rights
        if rights.is_unlimited:
            return
        name = check_text(id, "id").rpartition("-")[0]
        if "/" in id or not name:
            rights.require_unlimited("naming a training set by its model")
        rights.require(privilege, Kind.TABLE, f"{self._training_sets}.{name}")

    def needs_of_training_sets(self, *ids: str) -> list[Requirement] | None:
        """READ on the tables of training sets; None, the rights of an administrator, if one is named by its model."""
        names = [id.rpartition("-")[0] for id in ids]
        if not all(names) or any("/" in id for id in ids):
            return None
        return [(Privilege.READ, Securable(Kind.TABLE, f"{self._training_sets}.{name}")) for name in names]

    def get_training_set(self, id: str) -> TrainingSet:
        """READ on its table."""
        self.require_training_set(id)
        return self._call(self._store.get_training_set, id)

    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """READ on its table."""
        self.require_training_set(id_or_model_uri)
        return self._call(self._store.rebuild, id_or_model_uri)

    def compare(self, a: str, b: str) -> Comparison:
        """READ on both tables."""
        self.require_training_set(a)
        self.require_training_set(b)
        return self._call(self._store.compare, a, b)

    def create_training_set(
        self,
        frame: Any,
        feature_lookups: FeatureLookup | Sequence[FeatureLookup],
        label: str | None = None,
        exclude_columns: str | Sequence[str] | None = None,
        timestamp: str | None = None,
        *,
        name: str | None = None,
        known: Known = "now",
        split: SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        progress: TrainingSetProgress = None,
    ) -> TrainingSet:
        """An administrator: it registers a service."""
        self._require_unlimited("create_training_set")
        more: dict[str, Any] = {"name": name, "known": known, "split": split, "by": by, "progress": progress}
        return self._store.create_training_set(frame, feature_lookups, label, exclude_columns, timestamp, **more)

    def point_in_time(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> pa.Table:
        """READ on the service and on the tables of the spine."""
        self._rights.require(Privilege.READ, Kind.SERVICE, service_name(service))
        join = self._store.point_in_time
        return self._call(join, service_name(service), spine, timestamp, known, snapshots, start, end, every, format)

    # online

    def online_features(
        self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """READ_ONLINE on the service."""
        name = service_name(service)
        self._rights.require(Privilege.READ_ONLINE, Kind.SERVICE, name)
        return self._call(self._store.online_features, name, entities, request)

    # what there is

    def entities(self) -> list[EntityInfo]:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.entities()

    def sources(self) -> list[SourceInfo]:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.sources()

    def views(self) -> list[ViewInfo]:
        """Those with USE."""
        rights = self._rights
        return [view for view in self._store.views() if rights.sees(Kind.VIEW, view.name)]

    def view(self, name: str) -> ViewDetail:
        """USE on the view."""
        self._rights.require(Privilege.USE, Kind.VIEW, view_name(name))
        return self._call(self._store.view, name)

    def services(self) -> list[ServiceInfo]:
        """Those with USE."""
        rights = self._rights
        return [service for service in self._store.services() if rights.sees(Kind.SERVICE, service.name)]

    def service(self, name: str) -> ServiceDetail:
        """USE on the service. Of views without USE, its definition has only the names."""
        rights = self._rights
        rights.require(Privilege.USE, Kind.SERVICE, service_name(name))
        found = self._call(self._store.service, name)
        selections = [
            selection if rights.sees(Kind.VIEW, selection["view"]["name"]) else {**selection, "view": {"name": selection["view"]["name"]}}
            for selection in found.definition["features"]
        ]
        return replace(found, definition={**found.definition, "features": selections})

    def training_sets(self) -> list[TrainingSetInfo]:
        """Those with USE on their table."""
        rights = self._rights
        return [made for made in self._store.training_sets() if rights.sees(Kind.TABLE, f"{self._training_sets}.{made.name}")]

    def models(self) -> list[ModelInfo]:
        """Those with USE."""
        rights = self._rights
        return [model for model in self._store.models() if rights.sees(Kind.MODEL, model.model)]

    def impact(self, table: str, column: str | None = None) -> Impact:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.impact(table, column)

    def lineage(self, name: str, direction: Direction = "both") -> ColumnLineage:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.lineage(name, direction)

    def history(self, table: str) -> list[TableEvent]:
        """USE on the catalog."""
        self._require_catalog()
        return self._store.history(table)

    # rows

    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> TableWrite:
        """WRITE on the view."""
        self._rights.require(Privilege.WRITE, Kind.VIEW, check_name(name, "name"))
        return self._call(self._store.write_table, name, frame, mode, run_id)

    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: MaterializationProgress = None,
        failures: Failures = "raise",
    ) -> Materializations:
        """WRITE and READ on each view, since failed checks show rows; of all views, an administrator."""
        needs = self.needs_of_materialization(view_names(names))
        if needs is None:
            self._require_unlimited("materializing all views")
        self.require_all(needs or ())
        return self._call(self._store.materialize, names, start, end, progress, failures)

    def needs_of_materialization(self, names: Sequence[str] | None) -> list[Requirement] | None:
        """WRITE and READ on each view; None, the rights of an administrator, for all views."""
        if names is None:
            return None
        return [(privilege, Securable(Kind.VIEW, name)) for name in names for privilege in (Privilege.WRITE, Privilege.READ)]

    # models

    def traffic(self, name: str) -> Traffic:
        """USE on the model."""
        self._rights.require(Privilege.USE, Kind.MODEL, check_name(name, "name"))
        return self._call(self._store.traffic, name)

    def set_traffic(
        self,
        name: str,
        weights: Mapping[str, float],
        shadow: str | Sequence[str] = (),
        *,
        approver: str | None = None,
        reason: str | None = None,
    ) -> Traffic:
        """APPROVE_MODEL on the model."""
        rights = self._rights
        rights.require(Privilege.APPROVE_MODEL, Kind.MODEL, check_name(name, "name"))
        return self._call(self._store.set_traffic, name, weights, shadow, approver=rights.check_approver(approver), reason=reason)

    def compare_traffic(
        self,
        name: str,
        since: datetime | str | None = None,
        labels: Any = None,
        label: str | None = None,
        timestamp: str | None = None,
    ) -> TrafficComparison:
        """An administrator."""
        self._require_unlimited("compare_traffic")
        return self._store.compare_traffic(name, since, labels, label, timestamp)

    def audit(self, uri: str, deep: bool = False) -> Audit:
        """An administrator."""
        self._require_unlimited("audit")
        return self._store.audit(uri, deep)

    def replay(self, request_id: str, row: int | None = None, model: str | None = None, at: datetime | str | None = None) -> Replay:
        """An administrator."""
        self._require_unlimited("replay")
        return self._store.replay(request_id, row, model, at)

    # the store itself

    def plan(self, definitions: Any) -> Plan:
        """An administrator."""
        self._require_unlimited("plan")
        return self._store.plan(definitions)

    def apply(self, definitions: Any) -> Plan:
        """An administrator: definitions read their sources as the store does."""
        self._require_unlimited("apply")
        return self._store.apply(definitions)

    def create_table(
        self,
        name: str,
        keys: str | Sequence[str],
        timestamp: str | None = None,
        *,
        schema: Any,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ViewDetail:
        """An administrator."""
        self._require_unlimited("create_table")
        return self._store.create_table(name, keys, timestamp, schema=schema, description=description, tags=tags)

    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[Publication]:
        """An administrator."""
        self._require_unlimited("publish")
        return self._store.publish(names, full)

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[OnlineComparison]:
        """An administrator: differences show rows."""
        self._require_unlimited("verify_online")
        return self._store.verify_online(names, sample)

    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_version")
        return self._store.remove_version(view, version, dry_run)

    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_view")
        return self._store.remove_view(view, dry_run)

    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_service")
        return self._store.remove_service(service, dry_run)

    def remove_training_set(self, id: str, dry_run: bool = False) -> TrainingSetRemoval:
        """An administrator."""
        self._require_unlimited("remove_training_set")
        return self._store.remove_training_set(id, dry_run)

    def maintain(
        self, older_than: timedelta = timedelta(days=7), dry_run: bool = False, drop_superseded_after: timedelta | None = None
    ) -> list[TableMaintenance]:
        """An administrator."""
        self._require_unlimited("maintain")
        return self._store.maintain(older_than, dry_run, drop_superseded_after)

    def erase(self, entity: str, key: Any, dry_run: bool = False, *, by: str | None = None) -> Erasure:
        """An administrator."""
        self._require_unlimited("erase")
        return self._store.erase(entity, key, dry_run, by=by)

    def erasures(self) -> list[Erasure]:
        """An administrator."""
        self._require_unlimited("erasures")
        return self._store.erasures()

    def repair(self, dry_run: bool = False) -> list[Repair]:
        """An administrator."""
        self._require_unlimited("repair")
        return self._store.repair(dry_run)

    def tag(self, name: str, tables: str | Sequence[str] | None = None, *, by: str | None = None) -> NamedVersion:
        """An administrator."""
        self._require_unlimited("tag")
        return self._store.tag(name, tables, by=by)

    def tags(self) -> list[NamedVersion]:
        """USE on the catalog: they name tables."""
        self._require_catalog()
        return self._store.tags()

    def remove_tag(self, name: str) -> NamedVersion:
        """An administrator."""
        self._require_unlimited("remove_tag")
        return self._store.remove_tag(name)

    def explain_retention(self) -> list[RetainedSnapshot]:
        """An administrator."""
        self._require_unlimited("explain_retention")
        return self._store.explain_retention()

    def audit_log(
        self,
        principal: str | None = None,
        since: datetime | str | None = None,
        action: str | None = None,
        entity: Mapping[str, Any] | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """An administrator."""
        self._require_unlimited("audit_log")
        return self._store.audit_log(principal, since, action, entity, limit)

    def audit_log_heads(self) -> list[ChainHead]:
        """An administrator."""
        self._require_unlimited("audit_log_heads")
        return self._store.audit_log_heads()

    def verify_audit_log(self, heads: Iterable[ChainHead | Mapping[str, Any]] = ()) -> AuditVerification:
        """An administrator."""
        self._require_unlimited("verify_audit_log")
        return self._store.verify_audit_log(heads)

    # who may use it

    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> CreatedKey:
        """An administrator."""
        self._require_unlimited("create_key")
        return self._store.create_key(name, groups, administrator, expires)

    def keys(self) -> list[ApiKey]:
        """An administrator."""
        self._require_unlimited("keys")
        return self._store.keys()

    def revoke_key(self, id: str) -> ApiKey:
        """An administrator."""
        self._require_unlimited("revoke_key")
        return self._store.revoke_key(id)

    def grant(self, privilege: str, on: str, to: str) -> GrantInfo:
        """MANAGE on the object, and the privilege itself."""
        return self._store._change_grant(privilege, on, to, self._rights, revoke=False)

    def revoke(self, privilege: str, on: str, to: str) -> GrantInfo:
        """As `grant`."""
        return self._store._change_grant(privilege, on, to, self._rights, revoke=True)

    def grants(self, on: str | None = None, to: str | None = None) -> list[GrantInfo]:
        """Those to the principal and its groups, and those on what it manages."""
        return self._store._list_grants(on, to, self._rights)

    def close(self) -> None:
        """Close nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _require_unlimited(self, verb: str) -> None:
        self._rights.require_unlimited(verb)

    def _require_catalog(self) -> None:
        self._rights.require_catalog(Privilege.USE)

    def _call(self, verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What the store's method returns. Raises: NotFound without names that the principal may not see."""
        try:
            return verb(*arguments, **named)
        except NotFound as error:
            raise self._given.without_hidden_names(error) from None
