"""The methods of a store about who may use it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from featurestore import verbs
from featurestore.records import authors
from featurestore.store.connections import Connections

if TYPE_CHECKING:
    from featurestore.access.key_results import ApiKey, CreatedKey


class AccessVerbs(Connections):
    """API keys. A store in this process is its operator: whoever has its files and its settings has its data."""

    def create_key(
        self, name: str, groups: str | Sequence[str] = (), administrator: bool = False, expires: timedelta | str = "90d"
    ) -> CreatedKey:
        """Make an API key for a person or a program. All servers accept it within a second, and ask everybody for credentials from the
        first key on.

        The result's `token` is what clients send. It is shown once: only a digest of it is stored. A name may have two live keys, so that
        one can take the place of the other. Raises: RequestError; Conflict saying which key to revoke first.
        """
        return verbs.create_key(self._runtime, name, groups, administrator, expires, authors.author() or None)

    def keys(self) -> list[ApiKey]:
        """All API keys that were ever created, the newest first, with their states and the hour of their last use."""
        return verbs.list_keys(self._runtime)

    def revoke_key(self, id: str) -> ApiKey:
        """Revoke an API key: all servers refuse it within a second. Raises: NotFound with the nearest ids."""
        return verbs.revoke_key(self._runtime, id, authors.author() or None)
