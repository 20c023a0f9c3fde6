"""Models, their traffic and their audits, as one principal may use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featurestore.access.privileges import Kind, Privilege
from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded
from featurestore.values.arguments import check_name

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.audit_result import Audit
    from featurestore.pipelines.lineage.replay_result import Replay
    from featurestore.pipelines.lineage.traffic_comparison import TrafficComparison
    from featurestore.pipelines.lineage.traffic_result import Traffic


class PrincipalModels(PrincipalVerbs):
    """Traffic, audits and replays of models."""

    @recorded
    def traffic(self, name: str) -> Traffic:
        """USE on the model."""
        self._rights.require(Privilege.USE, Kind.MODEL, check_name(name, "name"))
        return self._call(self._store.traffic, name)

    @recorded
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
        return self._call(self._store.set_traffic, name, weights, shadow, approver=rights.check_author(approver, "approver"), reason=reason)

    @recorded
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

    @recorded
    def audit(self, uri: str, deep: bool = False) -> Audit:
        """An administrator."""
        self._require_unlimited("audit")
        return self._store.audit(uri, deep)

    @recorded
    def replay(self, request_id: str, row: int | None = None, model: str | None = None, at: datetime | str | None = None) -> Replay:
        """An administrator."""
        self._require_unlimited("replay")
        return self._store.replay(request_id, row, model, at)
