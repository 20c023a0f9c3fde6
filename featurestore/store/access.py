"""The methods of a store about who may use it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from featurestore import verbs
from featurestore.store.connections import Connections
from featurestore.store.recorded import recorded

if TYPE_CHECKING:
    from featurestore.access.grant_results import GrantInfo
    from featurestore.access.key_results import ApiKey, CreatedKey
    from featurestore.access.policy_results import PolicyInfo
    from featurestore.access.rights import Rights
    from featurestore.store.feature_store import FeatureStore
    from featurestore.store.principal import PrincipalStore


class AccessVerbs(Connections):
    """API keys, grants and policies. A store in this process is its operator: whoever has its files and its settings has its data."""

    @recorded
    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> CreatedKey:
        """Make an API key for a person or a program. All servers accept it within a second, and ask everybody for credentials from the
        first key on.

        The result's `token` is what clients send. It is shown once: only a digest of it is stored. A name may have two live keys, so that
        one can take the place of the other. Raises: RequestError; Conflict saying which key to revoke first.
        """
        return verbs.create_key(self._runtime, name, groups, administrator, expires, self._runtime.author or None)

    @recorded
    def grant(self, privilege: str, on: str, to: str) -> GrantInfo:
        """Grant a privilege: `store.grant("READ", "VIEW customer_orders", "GROUP analysts")`.

        Privileges are USE, READ, READ_ONLINE, WRITE, MANAGE, OWN, APPROVE_MODEL and SHARE; objects CATALOG, NAMESPACE, TABLE,
        ENTITY, SOURCE, VIEW, SERVICE and MODEL; grantees USER and GROUP. All servers follow within a second. One that is in force
        already is not recorded again. An object has one owner: OWN hands it over.
        Raises: RequestError naming the argument.
        """
        return self._change_grant(privilege, on, to, None, revoke=False)

    @recorded
    def revoke(self, privilege: str, on: str, to: str) -> GrantInfo:
        """Revoke a grant, which is returned. All servers follow within a second. Raises: NotFound if it is not in force."""
        return self._change_grant(privilege, on, to, None, revoke=True)

    def grants(self, on: str | None = None, to: str | None = None) -> list[GrantInfo]:
        """The grants in force, the oldest first: on an object such as "VIEW customer_orders", or to a "USER him" or "GROUP analysts"."""
        return self._list_grants(on, to, None)

    def policies(self) -> list[PolicyInfo]:
        """The masks, row filters and declassified features in force, by table and view, with who applied them."""
        return verbs.list_policies(verbs.read_policies(self._runtime))

    def as_principal(self, name: str, groups: str | Sequence[str] = ()) -> PrincipalStore:
        """The same methods with the rights of a user in these groups, as granted at each call. They raise Forbidden for anything else."""
        # Imported here: it is for servers and tests.
        from featurestore.access.grant_book import GrantBook  # noqa: PLC0415
        from featurestore.access.policy_book import PolicyBook  # noqa: PLC0415
        from featurestore.access.principal import Principal, check_groups, check_principal_name  # noqa: PLC0415
        from featurestore.access.rights import Rights  # noqa: PLC0415
        from featurestore.store.principal import PrincipalStore  # noqa: PLC0415

        principal, book = Principal(check_principal_name(name, "name"), frozenset(check_groups(groups))), GrantBook(self._runtime)
        policies = PolicyBook(self._runtime, on_demand=True)

        def refresh() -> None:
            book.refresh()
            policies.refresh()

        return PrincipalStore(cast("FeatureStore", self), Rights(principal, book, policies), refresh)

    def _change_grant(self, privilege: str, on: str, to: str, rights: Rights | None, *, revoke: bool) -> GrantInfo:
        by = None if rights is not None else self._runtime.author or None
        return verbs.change_grant(self._runtime, privilege, on, to, rights or verbs.OPERATOR, by, revoke=revoke)

    def _list_grants(self, on: str | None, to: str | None, rights: Rights | None) -> list[GrantInfo]:
        return verbs.list_grants(self._runtime, on, to, rights or verbs.OPERATOR)

    def keys(self) -> list[ApiKey]:
        """All API keys that were ever created, the newest first, with their states and the hour of their last use."""
        return verbs.list_keys(self._runtime)

    @recorded
    def revoke_key(self, id: str) -> ApiKey:
        """Revoke an API key: all servers refuse it within a second. Raises: NotFound with the nearest ids."""
        return verbs.revoke_key(self._runtime, id, self._runtime.author or None)
