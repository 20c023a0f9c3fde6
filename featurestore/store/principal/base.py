"""What all methods of `PrincipalStore` need: the store, and the rights of its principal."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from featurestore.access.privileges import Privilege, Securable
from featurestore.errors import NotFound

if TYPE_CHECKING:
    from featurestore.access.principal import Principal
    from featurestore.access.rights import Rights
    from featurestore.audit_log.log import AuditLog
    from featurestore.records.runtime import Runtime
    from featurestore.store.feature_store import FeatureStore

P = ParamSpec("P")
T = TypeVar("T")
Requirement = tuple[Privilege, Securable]
"""A privilege on an object."""


class PrincipalVerbs:
    """A store, the rights of one principal, and the checks that each method makes."""

    def __init__(self, store: FeatureStore, rights: Rights, refresh: Callable[[], None] = lambda: None) -> None:
        """`refresh` is called before rights are looked at, to follow the grants.

        From then on they are as they were, so that a verb reads all rows, and records what was in force, in one state.
        """
        self._store, self._given, self._refresh = copy.copy(store), rights, refresh
        self._followed = rights
        self._read_as(rights)
        self._training_sets = store.settings.training_sets_namespace

    @property
    def _rights(self) -> Rights:
        self._refresh()
        if not self._followed.is_unlimited:
            self._given = self._followed.frozen()
            self._read_as(self._given)
        return self._given

    def _read_as(self, rights: Rights) -> None:
        runtime = self._store._runtime.for_author(rights.principal.name)
        self._store._runtime = runtime if rights.is_unlimited else runtime.for_reader(rights)

    @property
    def principal(self) -> Principal:
        """Who uses the store."""
        return self._given.principal

    @property
    def _audit_log(self) -> AuditLog | None:
        return self._store._audit_log

    @property
    def _runtime(self) -> Runtime:
        return self._store._runtime

    def require_all(self, requirements: Sequence[Requirement]) -> None:
        """Check several rights. Raises: Forbidden naming the first that is missing."""
        rights = self._rights
        for privilege, on in requirements:
            rights.require(privilege, on.kind, on.name)

    def close(self) -> None:
        """Close nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _require_unlimited(self, verb: str) -> None:
        self._rights.require_unlimited(verb)

    def _require_catalog(self) -> None:
        self._rights.require_catalog(Privilege.USE)

    def _call(self, verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What the store's method returns. Raises: NotFound without names that the principal may not see."""
        try:
            return verb(*arguments, **named)
        except NotFound as error:
            raise self._given.without_hidden_names(error) from None
