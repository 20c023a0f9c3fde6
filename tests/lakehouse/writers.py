"""The processes in the tests of concurrent writers."""

import threading
from typing import Any

from featurestore.errors import CommitConflict
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.lakehouse.data import events, reader

START_SECONDS = 60


def append_once(settings: Settings, number: int, barrier: threading.Barrier, outcomes: Any) -> None:
    """Append one row to the state that every process has loaded before any of them writes."""
    with open_catalog(settings) as catalog:
        table = tables.load(catalog, "features.f")
        barrier.wait(START_SECONDS)
        try:
            writes.append(table, reader(events((number, "2026-01-01", "x"))), summary={})
            outcomes.put("won")
        except CommitConflict:
            outcomes.put("lost")


def log_rows(settings: Settings, number: int, barrier: threading.Barrier, rows: int) -> None:
    """Append rows one by one, whoever else does."""
    with open_catalog(settings) as catalog:
        barrier.wait(START_SECONDS)
        for row in range(rows):
            writes.append_retrying(tables.load(catalog, "features.f"), reader(events((number * 1000 + row, "2026-01-01", "x"))))
