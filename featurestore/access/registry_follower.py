"""Keep what a registry table says in memory, and follow the table."""

import copy
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime

KEPT_SECONDS = 300.0
"""How long a registry holds in memory while the catalog cannot be reached: a change would not be seen."""

RecordsT = TypeVar("RecordsT")


class RegistryFollower(ABC, Generic[RecordsT]):
    """A registry as it was last read. `refresh` looks at the table's pointer in the catalog, and reads it again only if that moved.

    `clock` is monotonic, in seconds.
    """

    what: str
    """What the registry has, for errors."""

    def __init__(self, runtime: Runtime, identifier: str, clock: Callable[[], float] = time.monotonic, on_demand: bool = False) -> None:
        """`on_demand`: what is too old is read again when it is needed, where nobody calls `refresh` all the time."""
        self._on_demand = on_demand
        self._runtime, self._identifier, self._clock = runtime, identifier, clock
        self._lock = threading.Lock()
        self._read_at: str | None = ""
        self._records: RecordsT | None = None
        self._looked = -KEPT_SECONDS
        self._is_frozen = False

    @property
    def is_loaded(self) -> bool:
        """Whether the registry was ever read."""
        return self._records is not None

    @property
    def is_fresh(self) -> bool:
        """Whether the registry was read, or seen to be unchanged, within the last KEPT_SECONDS."""
        return self._records is not None and self._clock() - self._looked < KEPT_SECONDS

    def refresh(self) -> None:
        """Read what has changed. Raises: NotReady."""
        if self._is_frozen:
            return
        with self._lock:
            began = self._clock()
            pointer = tables.pointer(self._runtime.catalog, self._identifier)
            if pointer != self._read_at or self._records is None:
                table = None if pointer is None else tables.find(self._runtime.catalog, self._identifier)
                self._records = self._read(table)
                self._forget()
                self._read_at = None if table is None else table.metadata_location
            self._looked = began

    def frozen(self) -> Self:
        """The registry as it is now, whatever changes later: one verb must not see two states. Raises: NotReady, as reading it does."""
        if self._is_frozen:
            return self
        records = self._fresh()
        frozen = copy.copy(self)
        frozen._records, frozen._is_frozen = records, True
        # Answers may be from other records: those were read meanwhile.
        frozen._forget()
        return frozen

    @abstractmethod
    def _read(self, table: Table | None) -> RecordsT:
        """The records of the table; None: there is no such table yet."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget what was computed from the records before, without changing it for a copy."""

    def _fresh(self) -> RecordsT:
        """The records. Raises: NotReady if they were not read lately."""
        if self._is_frozen and self._records is not None:
            return self._records
        if self._on_demand and self._clock() - self._looked >= KEPT_SECONDS:
            self.refresh()
        records = self._records
        if records is None or self._clock() - self._looked >= KEPT_SECONDS:
            raise NotReady(f"the {self.what} of the store cannot be read, because its catalog does not respond; try again later")
        return records
