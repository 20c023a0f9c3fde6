"""The methods of a server about its audit log, as exchanges."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead
from featurestore.client.arguments import time_text
from featurestore.client.calls import Calls
from featurestore.client.steps import Exchange, get, post
from featurestore.values.arguments import check_count, check_object, check_objects, check_text


class AuditLogVerbs:
    """The audit log; `FeatureStore` documents these methods."""

    _calls: Calls

    def audit_log(
        self,
        principal: str | None = None,
        since: datetime | str | None = None,
        action: str | None = None,
        entity: Mapping[str, Any] | None = None,
        limit: int = 100,
    ) -> Exchange[list[AuditEntry]]:
        """The newest entries of the audit log that match."""
        body = {
            "principal": None if principal is None else check_text(principal, "principal"),
            "since": time_text(since, "since"),
            "action": None if action is None else check_text(action, "action"),
            "entity": None if entity is None else dict(check_object(entity, "entity")),
            "limit": check_count(limit, "limit"),
        }
        return self._calls.read_results(AuditEntry, post("/v1/audit-log/queries", body, safe=True, unlimited=True))

    def audit_log_heads(self) -> Exchange[list[ChainHead]]:
        """The last entry of each chain of the audit log."""
        return self._calls.read_results(ChainHead, get("/v1/audit-log/heads"))

    def verify_audit_log(self, heads: Iterable[ChainHead | Mapping[str, Any]] = ()) -> Exchange[AuditVerification]:
        """Verify every hash of the audit log."""
        body = {"heads": [_document(head) for head in check_objects(heads, "heads")]}
        return self._calls.read_result(AuditVerification, post("/v1/audit-log/verifications", body, safe=True, unlimited=True))


def _document(head: ChainHead | Mapping[str, Any]) -> dict[str, Any]:
    return head.to_dict() if isinstance(head, ChainHead) else dict(check_object(head, "heads"))
