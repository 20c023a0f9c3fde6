"""`Store`: the methods that a store has, whether it is on this machine or behind a server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self

from featurestore.values.arguments import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    import pyarrow as pa

    from featurestore.access.grant_results import GrantInfo
    from featurestore.access.key_results import ApiKey, CreatedKey
    from featurestore.access.policy_results import PolicyInfo
    from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead
    from featurestore.dsl.csv_format import Csv
    from featurestore.dsl.lookup import FeatureLookup
    from featurestore.dsl.source import Source
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
    from featurestore.pipelines.pushed.push import Pushed
    from featurestore.pipelines.pushed.write import SourceWrite, SourceWriteMode
    from featurestore.pipelines.training_sets.comparison_result import Comparison
    from featurestore.pipelines.training_sets.listing import TrainingSetInfo
    from featurestore.pipelines.training_sets.splits import SplitRequest
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.pipelines.written.write import TableWrite, WriteMode
    from featurestore.progress import MaterializationProgress, TrainingSetProgress
    from featurestore.records.listings import EntityInfo, ModelInfo, ServiceDetail, ServiceInfo, SourceInfo, ViewDetail, ViewInfo
    from featurestore.sharing.share_results import CreatedRecipient, RecipientInfo, ShareInfo
    from featurestore.values.arguments import Direction, Failures, Known, Snapshots


class Store(Protocol):
    """What `FeatureStore` and the client of a server have in common: the same arguments, results and errors.

    `FeatureStore` documents each method. Annotate with this type what works with either.
    """

    def plan(self, definitions: Any) -> Plan:
        """What applying these definitions would change."""

    def apply(self, definitions: Any) -> Plan:
        """Apply a plan or definitions, all or nothing."""

    def materialize(
        self,
        names: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        progress: MaterializationProgress = None,
        failures: Failures = "raise",
        wait: timedelta = WAIT,
    ) -> Materializations:
        """Compute views up to `end`."""

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
        """Create a feature table that is written by key."""

    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> TableWrite:
        """Write rows to a table by its keys."""

    def push(self, source: str | Source, rows: Any) -> Pushed:
        """Push rows to a source."""

    def write(self, source: str | Source, frame: Any, mode: SourceWriteMode = "append") -> SourceWrite:
        """Write rows to the table of a source."""

    def history(self, table: str) -> list[TableEvent]:
        """What happened to a table, the newest first."""

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
        """Join a frame with features of written tables and views, and store the result."""

    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[Publication]:
        """Publish feature tables to the online store."""

    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[OnlineComparison]:
        """Compare online rows with their feature tables."""

    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """Remove an older version of a view."""

    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """Remove a view with all its versions."""

    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """Remove a service with all its versions."""

    def remove_training_set(self, id: str, dry_run: bool = False) -> TrainingSetRemoval:
        """Remove a training set that no model was trained on."""

    def maintain(
        self,
        older_than: timedelta = timedelta(days=7),
        dry_run: bool = False,
        drop_superseded_after: timedelta | None = None,
        wait: timedelta = WAIT,
    ) -> list[TableMaintenance]:
        """Expire snapshots, remove orphan files, compact small ones."""

    def tag(self, name: str, tables: str | Sequence[str] | None = None, *, by: str | None = None) -> NamedVersion:
        """Pin the current snapshots of tables under a name."""

    def tags(self) -> list[NamedVersion]:
        """The named versions, newest first."""

    def remove_tag(self, name: str) -> NamedVersion:
        """Remove a named version."""

    def erase(self, entity: str, key: Any, dry_run: bool = False, *, by: str | None = None) -> Erasure:
        """Erase the rows of an entity's key from everything that the store keeps."""

    def erasures(self) -> list[Erasure]:
        """The certificates of all erasures, newest first."""

    def repair(self, dry_run: bool = False) -> list[Repair]:
        """Roll tables with missing files back."""

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
        """Join a spine with a service's features as of each row's time, and store the result."""

    def get_training_set(self, id: str) -> TrainingSet:
        """A stored training set."""

    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """Compute a training set again from its pinned snapshots, and compare."""

    def compare(self, a: str, b: str) -> Comparison:
        """The differences of training set `b` from `a`."""

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
        """The spine with a service's features as of each row's time, not stored."""

    def online_features(
        self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """The newest features of each entity."""

    def entities(self) -> list[EntityInfo]:
        """The applied entities."""

    def sources(self) -> list[SourceInfo]:
        """The applied sources."""

    def views(self) -> list[ViewInfo]:
        """The newest version of every view."""

    def view(self, name: str) -> ViewDetail:
        """One view with all its versions."""

    def services(self) -> list[ServiceInfo]:
        """Every service at the version that is served."""

    def service(self, name: str) -> ServiceDetail:
        """One service with all its versions."""

    def training_sets(self) -> list[TrainingSetInfo]:
        """Every training set, newest first."""

    def models(self) -> list[ModelInfo]:
        """Every version of every model that was logged with a training set, newest first."""

    def impact(self, table: str, column: str | None = None) -> Impact:
        """What depends on a table or one of its columns."""

    def lineage(self, name: str, direction: Direction = "both") -> ColumnLineage:
        """What a column, a feature, a training set or a model is computed from, and what is computed from it."""

    def explain_retention(self) -> list[RetainedSnapshot]:
        """Every snapshot of every table, with what keeps it alive."""

    def replay(self, request_id: str, row: int | None = None, model: str | None = None, at: datetime | str | None = None) -> Replay:
        """Compute a logged prediction again, and compare it with the log."""

    def traffic(self, name: str) -> Traffic:
        """How the requests to a registered model are split."""

    def set_traffic(
        self,
        name: str,
        weights: Mapping[str, float],
        shadow: str | Sequence[str] = (),
        *,
        approver: str | None = None,
        reason: str | None = None,
    ) -> Traffic:
        """Split the requests to a registered model among aliases."""

    def compare_traffic(
        self,
        name: str,
        since: datetime | str | None = None,
        labels: Any = None,
        label: str | None = None,
        timestamp: str | None = None,
    ) -> TrafficComparison:
        """Compare the logged predictions of a model by alias, version and role."""

    def audit(self, uri: str, deep: bool = False) -> Audit:
        """The chain behind a model, with every link verified."""

    def audit_log(
        self,
        principal: str | None = None,
        since: datetime | str | None = None,
        action: str | None = None,
        entity: Mapping[str, Any] | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """The newest entries of the audit log that match."""

    def audit_log_heads(self) -> list[ChainHead]:
        """The last entry of each chain of the audit log."""

    def verify_audit_log(self, heads: Iterable[ChainHead | Mapping[str, Any]] = ()) -> AuditVerification:
        """Verify every hash of the audit log."""

    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> CreatedKey:
        """Make an API key."""

    def grant(self, privilege: str, on: str, to: str) -> GrantInfo:
        """Grant a privilege."""

    def revoke(self, privilege: str, on: str, to: str) -> GrantInfo:
        """Revoke a grant."""

    def grants(self, on: str | None = None, to: str | None = None) -> list[GrantInfo]:
        """The grants in force."""

    def policies(self) -> list[PolicyInfo]:
        """The masks, row filters and declassified features in force."""

    def keys(self) -> list[ApiKey]:
        """All API keys, the newest first."""

    def revoke_key(self, id: str) -> ApiKey:
        """Revoke an API key."""

    def create_share(self, name: str) -> ShareInfo:
        """Make an empty share."""

    def remove_share(self, name: str) -> ShareInfo:
        """Remove a share."""

    def add_to_share(self, share: str, on: str, as_name: str | None = None) -> ShareInfo:
        """Put an object into a share."""

    def remove_from_share(self, share: str, on: str) -> ShareInfo:
        """Take an object out of a share."""

    def shares(self) -> list[ShareInfo]:
        """The shares by name."""

    def create_recipient(
        self, name: str, shares: str | Sequence[str] = (), groups: str | Sequence[str] = (), expires: timedelta | str = "90d"
    ) -> CreatedRecipient:
        """Make a recipient of shares."""

    def change_recipient(
        self, name: str, shares: str | Sequence[str] | None = None, groups: str | Sequence[str] | None = None
    ) -> RecipientInfo:
        """Give a recipient other shares or groups."""

    def rotate_recipient(self, name: str, expires: timedelta | str = "90d") -> CreatedRecipient:
        """Make a second profile for a recipient."""

    def revoke_recipient(self, name: str, key: str | None = None) -> RecipientInfo:
        """Revoke a recipient, or one of its keys."""

    def recipients(self) -> list[RecipientInfo]:
        """All recipients by name."""

    def close(self) -> None:
        """Close all connections."""

    def __enter__(self) -> Self: ...

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
