"""Detect tables that the online store has lost: they are materialized, but absent there."""

import threading
from collections.abc import Collection

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.records import feature_table
from featurestore.records.runtime import Runtime


class OnlineTables:
    """Distinguishes absent tables that were never materialized from lost ones."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._empty: set[str] = set()
        self._generation = -1

    def check_absent(self, absent: Collection[str]) -> None:
        """Check in the catalog that feature tables absent from the online store are empty; cached until the next publish.

        Raises: NotReady naming a table that is materialized.
        """
        generation = self._runtime.online.generation()
        with self._lock:
            if generation != self._generation:
                self._empty, self._generation = set(), generation
            unknown = set(absent) - self._empty
        for table in sorted(unknown):
            properties = tables.load(self._runtime.catalog, self._runtime.features_table(table)).properties
            if feature_table.state_of(properties).through is not None:
                raise NotReady(
                    f"the online store has no rows of {table}, which is materialized: it was emptied, or the first publish is in progress;"
                    " run featurestore materialize to fill it",
                    table=table,
                )
        with self._lock:
            if generation == self._generation:
                self._empty |= unknown
