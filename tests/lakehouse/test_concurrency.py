"""Concurrent processes: one of them wins a compare-and-swap, and a log loses no rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featurestore.lakehouse import tables
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.forked import fork_context
from tests.lakehouse import writers
from tests.lakehouse.data import EVENTS, files


def run(count: int, target: Callable[..., None], settings: Settings, *more: Any) -> None:
    """Let `count` processes do the same at the same time."""
    context = fork_context()
    barrier = context.Barrier(count)
    processes = [context.Process(target=target, args=(settings, number, barrier, *more)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(writers.START_SECONDS)
    assert [process.exitcode for process in processes] == [0] * count


@pytest.mark.slow
def test_exactly_one_append_wins(settings: Settings) -> None:
    with open_catalog(settings) as catalog:
        tables.create(catalog, "features.f", EVENTS, month_of="t")
        outcomes = fork_context().Queue()
        run(2, writers.append_once, settings, outcomes)
        assert sorted(outcomes.get(timeout=5) for _ in range(2)) == ["lost", "won"]
        table = tables.load(catalog, "features.f")
        assert table.iceberg.scan().count() == 1
        assert len(files(table)) == 1


@pytest.mark.slow
def test_a_log_of_four_processes_loses_nothing(settings: Settings) -> None:
    with open_catalog(settings) as catalog:
        tables.create(catalog, "features.f", EVENTS)
        run(4, writers.log_rows, settings, 10)
        table = tables.load(catalog, "features.f")
        rows = table.iceberg.scan().to_arrow()["k"].to_pylist()
        assert sorted(rows) == [number * 1000 + row for number in range(4) for row in range(10)]
        assert len(files(table)) == 40


def test_a_handle_that_others_have_overtaken_does_not_warn_of_files_that_they_deleted(
    sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with open_catalog(sqlite_settings) as catalog:
        tables.create(catalog, "features.f", EVENTS)
        stale = tables.load(catalog, "features.f")
        tables.set_properties(stale, {"write.metadata.previous-versions-max": "2"})
        fresh = tables.load(catalog, "features.f")
        for number in range(5):
            tables.set_properties(fresh, {"a": str(number)})
        tables.set_properties(stale, {"b": "1"})
        assert "elete" not in caplog.text
        left = list(Path(fresh.location.removeprefix("file://"), "metadata").glob("*.metadata.json"))
        assert len(left) == 4, "the newest, two before it, and one of which the handle did not know, which maintenance removes"
