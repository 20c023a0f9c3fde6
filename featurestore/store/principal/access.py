"""API keys, grants and policies, as one principal may use them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from featurestore import verbs
from featurestore.store.principal.base import PrincipalVerbs
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.access.grant_results import GrantInfo
    from featurestore.access.key_results import ApiKey, CreatedKey
    from featurestore.access.policy_results import PolicyInfo


class PrincipalAccess(PrincipalVerbs):
    """Keys for administrators; grants for whoever manages the object; policies of what one may see."""

    @recorded
    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> CreatedKey:
        """An administrator."""
        self._require_unlimited("create_key")
        return self._store.create_key(name, groups, administrator, expires)

    @recorded
    def keys(self) -> list[ApiKey]:
        """An administrator."""
        self._require_unlimited("keys")
        return self._store.keys()

    @recorded
    def revoke_key(self, id: str) -> ApiKey:
        """An administrator."""
        self._require_unlimited("revoke_key")
        return self._store.revoke_key(id)

    @recorded
    def grant(self, privilege: str, on: str, to: str) -> GrantInfo:
        """MANAGE on the object, and the privilege itself."""
        return self._store._change_grant(privilege, on, to, self._rights, revoke=False)

    @recorded
    def revoke(self, privilege: str, on: str, to: str) -> GrantInfo:
        """As `grant`."""
        return self._store._change_grant(privilege, on, to, self._rights, revoke=True)

    @recorded
    def grants(self, on: str | None = None, to: str | None = None) -> list[GrantInfo]:
        """Those to the principal and its groups, and those on what it manages."""
        return self._store._list_grants(on, to, self._rights)

    @recorded
    def policies(self) -> list[PolicyInfo]:
        """Those of objects with USE; their SQL for administrators only, since it may hold what it hides."""
        rights = self._rights
        policies = {on: stored for on, stored in verbs.read_policies(self._store._runtime).items() if rights.sees(on.kind, on.name)}
        return verbs.list_policies(policies, with_sql=rights.is_unlimited)
