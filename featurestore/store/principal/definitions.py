"""Definitions and their removal, as one principal may use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.pipelines.maintenance.removal import Removal
    from featurestore.pipelines.planning.plan import Plan
    from featurestore.records.listings import ViewDetail


class PrincipalDefinitions(PrincipalVerbs):
    """Plan, apply and remove definitions."""

    @recorded
    def plan(self, definitions: Any) -> Plan:
        """An administrator."""
        self._require_unlimited("plan")
        return self._store.plan(definitions)

    @recorded
    def apply(self, definitions: Any) -> Plan:
        """An administrator: definitions read their sources as the store does."""
        self._require_unlimited("apply")
        return self._store.apply(definitions)

    @recorded
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

    @recorded
    def remove_version(self, view: str, version: int, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_version")
        return self._store.remove_version(view, version, dry_run)

    @recorded
    def remove_view(self, view: str, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_view")
        return self._store.remove_view(view, dry_run)

    @recorded
    def remove_service(self, service: str, dry_run: bool = False) -> Removal:
        """An administrator."""
        self._require_unlimited("remove_service")
        return self._store.remove_service(service, dry_run)
