"""The methods of a store about its audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from featurestore import verbs
from featurestore.store.connections import Connections
from featurestore.values.arguments import check_object, check_objects

if TYPE_CHECKING:
    from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead


class AuditLogVerbs(Connections):
    """Read and verify the audit log."""

    def audit_log(
        self,
        principal: str | None = None,
        since: datetime | str | None = None,
        action: str | None = None,
        entity: Mapping[str, Any] | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """The newest entries of the audit log that match all arguments, the newest first, at most `limit`.

        `action` is as entries have it, such as "POST /v1/apply". `entity` are the keys of an entity that was looked up online: the log has
        only keyed hashes of keys, so that one must know what to look for. Raises: RequestError; NotReady.
        """
        keys = None if entity is None else check_object(entity, "entity")
        return verbs.read_entries(self._runtime, principal, since, action, keys, limit)

    def audit_log_heads(self) -> list[ChainHead]:
        """The last entry of each chain of the audit log. Kept elsewhere, they prove what had been written: `verify_audit_log(heads)`."""
        return verbs.read_all_heads(self._runtime)

    def verify_audit_log(self, heads: Iterable[ChainHead | Mapping[str, Any]] = ()) -> AuditVerification:
        """Verify every hash of the audit log, in its table and in files; `problems` names each edited, removed, doubled or truncated place.

        Nothing is raised for what is wrong with the log. Raises: RequestError for other heads than `audit_log_heads` returns; NotReady.
        """
        return verbs.verify_audit_log(self._runtime, verbs.heads_of_documents(check_objects(heads, "heads")))
