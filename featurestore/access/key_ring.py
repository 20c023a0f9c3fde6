"""The keys of a registry in the memory of a server process, which follows it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from featurestore.access.key_registry import API_KEYS, KeyRegistry
from featurestore.access.keys import StoredKey, keys_of
from featurestore.access.principal import Principal
from featurestore.access.tokens import is_secret_of, parse_token
from featurestore.access.voided import void_until
from featurestore.lakehouse import granted, tables
from featurestore.records.runtime import Runtime
from featurestore.values import times

KEPT_SECONDS = 300.0
"""How long keys are accepted from memory while the catalog cannot be reached: a revocation would not be seen."""


class _LiveKey(NamedTuple):
    """What each request looks at of a key that is not revoked."""

    digest: str
    expires_at: int
    principal: Principal


class KeyRing:
    """The keys as they were last read. `refresh` looks at the table's pointer in the catalog, and reads it again only if that moved.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic, registry: KeyRegistry = API_KEYS) -> None:
        self._runtime, self._clock, self._registry = runtime, clock, registry
        self._lock = threading.Lock()
        self._read_at: str | None = ""
        self._keys: Mapping[str, StoredKey] | None = None
        self._live: Mapping[str, _LiveKey] = {}
        self._has_keys = False
        self._looked = -KEPT_SECONDS

    @property
    def is_loaded(self) -> bool:
        """Whether the registry was ever read."""
        return self._keys is not None

    @property
    def is_fresh(self) -> bool:
        """Whether the registry was read, or seen to be unchanged, within the last KEPT_SECONDS."""
        return self._keys is not None and self._clock() - self._looked < KEPT_SECONDS

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever created, also one that is revoked or expired: then a server asks for credentials."""
        return self._has_keys

    def find(self, token: str) -> Principal | None:
        """The principal of a live key with this token; None if there is none, or the registry was not read lately."""
        parts = parse_token(token, self._registry.prefix)
        if parts is None or not self.is_fresh or self._keys is None:
            return None
        id, secret = parts
        held = self._live.get(id)
        if held is None or not is_secret_of(secret, held.digest) or times.now() >= held.expires_at:
            return None
        return held.principal

    def find_by_id(self, id: str) -> Principal | None:
        """The principal of a live key with this id, for what was signed for it; None as in `find`."""
        held = self._live.get(id) if self.is_fresh else None
        return None if held is None or times.now() >= held.expires_at else held.principal

    def refresh(self) -> None:
        """Read what has changed. Raises: NotReady."""
        with self._lock:
            identifier = self._registry.keys_table(self._runtime.settings)
            began = self._clock()
            pointer = tables.pointer(self._runtime.catalog, identifier)
            if pointer != self._read_at or self._keys is None:
                table = None if pointer is None else tables.find(self._runtime.catalog, identifier)
                self._keys = {} if table is None else keys_of(granted.system(table, self._runtime.settings))
                self._live = {key.id: _LiveKey(key.digest, key.expires_at, key.principal) for key in self._keys.values() if not key.revoked}
                self._has_keys = self._has_keys or bool(self._keys) or (table is not None and void_until(table) is not None)
                self._read_at = None if table is None else table.metadata_location
            self._looked = began
