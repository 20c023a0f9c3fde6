"""The audit log, as one principal may read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead


class PrincipalAuditLog(PrincipalVerbs):
    """Read and verify the audit log."""

    @recorded
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

    @recorded
    def audit_log_heads(self) -> list[ChainHead]:
        """An administrator."""
        self._require_unlimited("audit_log_heads")
        return self._store.audit_log_heads()

    @recorded
    def verify_audit_log(self, heads: Iterable[ChainHead | Mapping[str, Any]] = ()) -> AuditVerification:
        """An administrator."""
        self._require_unlimited("verify_audit_log")
        return self._store.verify_audit_log(heads)
