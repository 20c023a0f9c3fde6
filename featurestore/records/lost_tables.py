"""Look for tables that the online store has lost, at little cost: the catalog is read only where something seems wrong."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from featurestore.errors import NotReady
from featurestore.records import definitions
from featurestore.records.definitions import Applied
from featurestore.records.live_versions import live_versions
from featurestore.records.online_tables import OnlineTables
from featurestore.records.runtime import Runtime

CATALOG_SECONDS = 60.0
"""How often the catalog is asked for tables that were published by other processes."""


class LostTables:
    """Finds the live tables that the online store has lost, and makes lookups of this process refuse them."""

    def __init__(self, runtime: Runtime, online_tables: OnlineTables) -> None:
        self._runtime, self._online_tables = runtime, online_tables
        self._lock = threading.Lock()
        self._identity: str | None = None
        self._lost: Mapping[str, str] = {}
        self._present: Sequence[str] = ()
        self._read_at = float("-inf")

    def find(self) -> Mapping[str, str]:
        """By table, what is wrong with it. Raises: NotReady if the online store or the catalog cannot be used."""
        with self._lock:
            # A lookup may have noticed first that a table is lost, or that it is filled.
            if self._online_tables.lost or self._lost or self._seems_wrong():
                self._read_catalog()
            return self._online_tables.lost

    def versions(self) -> list[Applied]:
        """The versions of views that are lost, in the order in which they are materialized."""
        lost = self.find()
        return [applied for applied in self._live() if applied.table in lost]

    def raise_lost(self) -> None:
        """Raises: NotReady that names the lost tables, with the progress of the process that fills the store."""
        lost = self.find()
        if lost:
            progress = self.progress()
            state = "incomplete" if progress is None else "being filled"
            reasons = "; ".join(f"{name}: {why}" for name, why in sorted(lost.items()))
            message = f"the online store has lost tables ({reasons}); a server fills them by itself, or run featurestore publish"
            raise NotReady(message, state=state, lost=dict(lost), filling=progress)

    def progress(self) -> dict[str, Any] | None:
        """The view that is filled, with the rows that are read and those that there are; None if no process fills the store."""
        shown = self._runtime.online.filling()
        if shown is None:
            return None
        return msgspec.json.decode(shown, type=dict[str, Any]) if shown else {}

    def _seems_wrong(self) -> bool:
        online = self._runtime.online
        if online.identity() != self._identity or time.monotonic() - self._read_at > CATALOG_SECONDS:
            return True
        return any(online.cursor(name) is None for name in self._present) or bool(online.incomplete(self._present))

    def _read_catalog(self) -> None:
        identity = self._runtime.online.identity()
        names = [applied.table for applied in self._live()]
        lost = self._online_tables.find_lost(names)
        self._online_tables.lost = self._lost = lost
        self._present = [name for name in names if name not in lost and self._runtime.online.cursor(name) is not None]
        self._identity, self._read_at = identity, time.monotonic()

    def _live(self) -> list[Applied]:
        known = definitions.read_registry(self._runtime)
        return list(live_versions(self._runtime, known, known.names("view")))
