"""Fill tables that the online store has lost. One process at a time does this, and shows its progress to the others."""

import time
from collections.abc import Callable, Sequence

import msgspec

from featurestore.compiler import newest_rows
from featurestore.engine.results import count
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.pipelines.materialization.edition import EditionPublisher, Fill
from featurestore.records import editions, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.lost_tables import LostTables
from featurestore.records.runtime import Runtime

SHOW_SECONDS = 0.5
"""Shortest time between two reports of progress. Each report also renews the right to fill the store."""


class _Progress:
    """Shows the view that is being read, and the number of rows so far, at most every SHOW_SECONDS."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._view, self._rows, self._total = "", 0, 0
        self._shown_at = float("-inf")

    def begin(self, view: str, total: int) -> None:
        """Start to count the rows of a view, which has `total` keys."""
        self._view, self._rows, self._total = view, 0, total
        self._shown_at = float("-inf")
        self.add(0)

    def add(self, rows: int) -> None:
        """Add to the number of rows that were read."""
        self._rows += rows
        if time.monotonic() - self._shown_at >= SHOW_SECONDS:
            self._shown_at = time.monotonic()
            self._show(msgspec.json.encode({"view": self._view, "rows": self._rows, "of": self._total}))


def fill_lost(runtime: Runtime, lost_tables: LostTables) -> list[str] | None:
    """Publish the tables that the online store has lost. Returns their names; None if another process is filling the store.

    Raises: as `EditionPublisher`; the error of the first table that could not be published, when the others are.
    """
    with runtime.online.claim_filling() as show:
        if show is None:
            return None
        progress = _Progress(show)
        versions, recorded = lost_tables.versions(), editions.read(runtime)
        with EditionPublisher(runtime, progress.add) as publisher:
            for applied in versions:
                view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
                progress.begin(applied.name, _count_keys(runtime, applied, view.entity.keys))
                publisher.add(applied, view, fill=Fill(recorded.get(applied.table)))
            outcome = publisher.commit()
        for error in outcome.errors.values():
            raise error
        return [applied.table for applied in versions]


def _count_keys(runtime: Runtime, applied: Applied, keys: Sequence[str]) -> int:
    granted = runtime.operator.grant(tables.load(runtime.catalog, runtime.features_table(applied.table)))
    with runtime.engine.session(data_folders(granted)) as session:
        log = session.add("__fs_keys", scans.scan_snapshot(granted, granted.table.snapshot_id, columns=list(keys)))
        return count(session, newest_rows.all_keys(log, keys))
