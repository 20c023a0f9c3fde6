"""The keys of a registry in the memory of a server process, which follows it."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from featurestore.access.key_registry import API_KEYS, KeyRegistry
from featurestore.access.keys import keys_of
from featurestore.access.principal import Principal
from featurestore.access.registry_follower import RegistryFollower
from featurestore.access.tokens import is_secret_of, parse_token
from featurestore.access.voided import void_until
from featurestore.lakehouse import granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.values import times


class _LiveKey(NamedTuple):
    """What each request looks at of a key that is not revoked."""

    digest: str
    expires_at: int
    principal: Principal


class _Keys(NamedTuple):
    """The keys that are not revoked by their ids, and whether a key was ever created, also one that is revoked or expired."""

    live: Mapping[str, _LiveKey]
    any: bool


class KeyRing(RegistryFollower[_Keys]):
    """The keys as they were last read. A key that expires, or a registry that was not read lately, needs no look to be refused."""

    what = "keys"

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic, registry: KeyRegistry = API_KEYS) -> None:
        super().__init__(runtime, registry.keys_table(runtime.settings), clock)
        self._prefix = registry.prefix

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever created, also one that is revoked or expired: then a server asks for credentials."""
        return self._records is not None and self._records.any

    def find(self, token: str) -> Principal | None:
        """The principal of a live key with this token; None if there is none, or the registry was not read lately."""
        parts = parse_token(token, self._prefix)
        held = None if parts is None else self._live(parts[0])
        return held.principal if parts is not None and held is not None and is_secret_of(parts[1], held.digest) else None

    def find_by_id(self, id: str) -> Principal | None:
        """The principal of a live key with this id, for what was signed for it; None as in `find`."""
        held = self._live(id)
        return None if held is None else held.principal

    def _live(self, id: str) -> _LiveKey | None:
        keys = self._records
        held = None if keys is None or not self.is_fresh else keys.live.get(id)
        return None if held is None or times.now() >= held.expires_at else held

    def _read(self, table: Table | None) -> _Keys:
        if table is None:
            return _Keys({}, self.has_keys)
        keys = keys_of(granted.system(table, self._runtime.settings))
        live = {key.id: _LiveKey(key.digest, key.expires_at, key.principal) for key in keys.values() if not key.revoked}
        # A server that asked for credentials keeps asking, also after its registry was repaired.
        return _Keys(live, self.has_keys or bool(keys) or void_until(table) is not None)

    def _forget(self) -> None:
        """Nothing is computed from keys."""
