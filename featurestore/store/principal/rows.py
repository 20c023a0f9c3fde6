"""Rows of feature tables and of the online store, as one principal may use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from featurestore.access.privileges import Kind, Privilege, Securable
from featurestore.records.names import service_name, source_name, view_names
from featurestore.store.principal.base import PrincipalVerbs, Requirement
from featurestore.store.recorded import recorded
from featurestore.values.arguments import WAIT, check_name

if TYPE_CHECKING:
    from featurestore.dsl.source import Source
    from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
    from featurestore.pipelines.materialization.edition import Publication
    from featurestore.pipelines.materialization.outcome import Materializations
    from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
    from featurestore.pipelines.pushed.push import Pushed
    from featurestore.pipelines.pushed.write import SourceWrite, SourceWriteMode
    from featurestore.pipelines.written.write import TableWrite, WriteMode
    from featurestore.progress import MaterializationProgress
    from featurestore.values.arguments import Failures


class PrincipalRows(PrincipalVerbs):
    """Look up, write, compute and publish rows."""

    @recorded
    def online_features(
        self, service: str, entities: Sequence[Mapping[str, Any]], request: Sequence[Mapping[str, Any]] | None = None
    ) -> OnlineFeatures:
        """READ_ONLINE on the service."""
        name = service_name(service)
        self._rights.require(Privilege.READ_ONLINE, Kind.SERVICE, name)
        return self._call(self._store.online_features, name, entities, request)

    @recorded
    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> TableWrite:
        """WRITE on the view."""
        self._rights.require(Privilege.WRITE, Kind.VIEW, check_name(name, "name"))
        return self._call(self._store.write_table, name, frame, mode, run_id)

    @recorded
    def push(self, source: str | Source, rows: Any) -> Pushed:
        """WRITE on the source."""
        name = source_name(source)
        self._rights.require(Privilege.WRITE, Kind.SOURCE, name)
        return self._call(self._store.push, name, rows)

    @recorded
    def write(self, source: str | Source, frame: Any, mode: SourceWriteMode = "append") -> SourceWrite:
        """WRITE on the source."""
        name = source_name(source)
        self._rights.require(Privilege.WRITE, Kind.SOURCE, name)
        return self._call(self._store.write, name, frame, mode)

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
        """WRITE and READ on each view, since failed checks show rows; of all views, an administrator."""
        needs = self.needs_of_materialization(view_names(names))
        if needs is None:
            self._require_unlimited("materializing all views")
        self.require_all(needs or ())
        return self._call(self._store.materialize, names, start, end, progress, failures, wait)

    def needs_of_materialization(self, names: Sequence[str] | None) -> list[Requirement] | None:
        """WRITE and READ on each view; None, the rights of an administrator, for all views."""
        if names is None:
            return None
        return [(privilege, Securable(Kind.VIEW, name)) for name in names for privilege in (Privilege.WRITE, Privilege.READ)]

    @recorded
    def publish(self, names: str | Sequence[str] | None = None, full: bool = False) -> list[Publication]:
        """MANAGE on each view; of all views, an administrator."""
        needs = self.needs_of_publication(view_names(names))
        if needs is None:
            self._require_unlimited("publishing all views")
        self.require_all(needs or ())
        return self._call(self._store.publish, names, full)

    def needs_of_publication(self, names: Sequence[str] | None) -> list[Requirement] | None:
        """MANAGE on each view; None, the rights of an administrator, for all views."""
        return None if names is None else [(Privilege.MANAGE, Securable(Kind.VIEW, name)) for name in names]

    @recorded
    def verify_online(self, names: str | Sequence[str] | None = None, sample: int | None = None) -> list[OnlineComparison]:
        """An administrator: differences show rows."""
        self._require_unlimited("verify_online")
        return self._store.verify_online(names, sample)
