"""Training sets and joins, as one principal may use them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.records.names import service_name
from featurestore.store.principal.base import PrincipalVerbs, Requirement
from featurestore.store.recorded import recorded
from featurestore.values.arguments import check_name, check_text

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.dsl.csv_format import Csv
    from featurestore.dsl.lookup import FeatureLookup
    from featurestore.pipelines.maintenance.training_set_removal import TrainingSetRemoval
    from featurestore.pipelines.training_sets.comparison_result import Comparison
    from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
    from featurestore.pipelines.training_sets.request import TrainingSetRequest
    from featurestore.pipelines.training_sets.splits import SplitRequest
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.progress import TrainingSetProgress
    from featurestore.values.arguments import Known, Snapshots


class PrincipalTrainingSets(PrincipalVerbs):
    """Build, read, compare and remove training sets; join without storing."""

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
        return self._store.backend.has_training_set(id)

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

    @recorded
    def get_training_set(self, id: str) -> TrainingSet:
        """READ on its table."""
        self.require_training_set(id)
        return self._call(self._store.get_training_set, id)

    @recorded
    def rebuild(self, id_or_model_uri: str) -> TrainingSet:
        """READ on its table."""
        self.require_training_set(id_or_model_uri)
        return self._call(self._store.rebuild, id_or_model_uri)

    @recorded
    def compare(self, a: str, b: str) -> Comparison:
        """READ on both tables."""
        self.require_training_set(a)
        self.require_training_set(b)
        return self._call(self._store.compare, a, b)

    @recorded
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

    @recorded
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

    @recorded
    def remove_training_set(self, id: str, dry_run: bool = False) -> TrainingSetRemoval:
        """An administrator."""
        self._require_unlimited("remove_training_set")
        return self._store.remove_training_set(id, dry_run)
