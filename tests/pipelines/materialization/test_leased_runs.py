"""Runs of one view in many processes: one computes, the others find its work done, and nothing is doubled without a lease either."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.engine.duck import DuckSession
from featurestore.errors import LeaseHeld
from featurestore.lakehouse import compaction, tables, writes
from featurestore.pipelines.materialization.materialize import ViewProgress
from featurestore.records.leases import Leases, leases_table
from tests import shop
from tests.cli.running import run
from tests.pipelines.materialization.overtaken import lose_lease

NO_WAIT = timedelta(0)
TABLE = "features.customer_orders_v1"


@contextmanager
def another(store: FeatureStore) -> Iterator[FeatureStore]:
    """The same store, as another process opens it."""
    with FeatureStore(settings=store.settings) as opened:
        yield opened


def keys(store: FeatureStore, table: str = TABLE) -> Counter[Any]:
    rows = store.catalog.load_table(table).scan().to_arrow().to_pylist()
    return Counter((row["customer_id"], row["feature_timestamp"]) for row in rows)


def test_a_run_with_nothing_to_do_takes_no_lease(declared_shop: FeatureStore) -> None:
    declared_shop.materialize(end=shop.NOW)
    name = leases_table(declared_shop.settings)
    before = tables.load(declared_shop.catalog, name)
    assert before.snapshot_ids == []
    with Leases(declared_shop.backend.runtime, 0) as held:
        held.take(TABLE)
        now = tables.load(declared_shop.catalog, name).metadata_location
        assert [run.rows_appended for run in declared_shop.materialize(end=shop.NOW, wait=NO_WAIT)] == [0, 0], (
            "not even one that others have"
        )
        assert tables.load(declared_shop.catalog, name).metadata_location == now


def test_who_waits_computes_nothing(declared_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both begin at once, and one of them writes."""
    written: list[int] = []
    write = DuckSession.write

    def writing(self: DuckSession, *arguments: Any, **options: Any) -> Any:
        result = write(self, *arguments, **options)
        written.append(result[0])
        return result

    monkeypatch.setattr(DuckSession, "write", writing)
    with another(declared_shop) as other, ThreadPoolExecutor() as pool:
        runs = [pool.submit(each.materialize, "customer_orders", None, shop.NOW) for each in (declared_shop, other)]
        appended = sorted(run.result(timeout=120)[0].rows_appended for run in runs)
    assert appended[0] == 0
    assert [sum(written)] == [appended[1]]
    assert set(keys(declared_shop).values()) == {1}


def test_a_view_of_another_process_is_a_failure_that_says_who(declared_shop: FeatureStore) -> None:
    with another(declared_shop) as other, Leases(other.backend.runtime, 0) as held:
        held.take(TABLE)
        runs = declared_shop.materialize(failures="return", wait=NO_WAIT)
        assert [run.view for run in runs] == ["customer_profile"], "the other view is computed"
        (failure,) = runs.failures
        assert isinstance(failure.error, LeaseHeld)
        assert isinstance(runs.error, LeaseHeld)
        assert failure.error.message.startswith(f"view customer_orders: another process has the lease of {TABLE}: process ")
    assert [run.rows_appended > 0 for run in declared_shop.materialize(wait=NO_WAIT)] == [True, False]


def test_a_run_whose_lease_was_taken_over_doubles_no_row(declared_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped before its commit, others have waited for long enough, and it goes on."""
    append = writes.append_files

    def stopped(*arguments: Any, **options: Any) -> int | None:
        monkeypatch.setattr(writes, "append_files", append)
        with another(declared_shop) as other:
            lose_lease(other, TABLE)
            (run,) = other.materialize("customer_orders", end=shop.NOW, wait=NO_WAIT)
            assert run.rows_appended > 0
        return append(*arguments, **options)

    monkeypatch.setattr(writes, "append_files", stopped)
    (run,) = declared_shop.materialize("customer_orders", end=shop.NOW)
    assert run.rows_appended == 0
    assert set(keys(declared_shop).values()) == {1}


def test_a_wait_is_told_and_ends_when_progress_says_so(declared_shop: FeatureStore) -> None:
    def stop(progress: ViewProgress) -> None:
        assert (progress.view, progress.stage) == ("customer_orders", "wait")
        raise KeyboardInterrupt

    with another(declared_shop) as other, Leases(other.backend.runtime, 0) as held:
        held.take(TABLE)
        with pytest.raises(KeyboardInterrupt):
            declared_shop.materialize("customer_orders", progress=stop)


def test_maintenance_waits_for_another_and_leaves_a_table_that_is_computed_alone(
    declared_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    for days in (5, 4):
        declared_shop.materialize("customer_orders", end=shop.NOW - timedelta(days=days))
    with another(declared_shop) as other, Leases(other.backend.runtime, 0) as held:
        held.take("maintenance")
        with pytest.raises(LeaseHeld, match="the lease of maintenance"):
            declared_shop.maintain(wait=NO_WAIT)
        assert declared_shop.maintain(dry_run=True, wait=NO_WAIT)
        held.release("maintenance")
        held.take(TABLE)
        (note,) = [done.note for done in declared_shop.maintain(older_than=NO_WAIT, wait=NO_WAIT) if done.table == TABLE and done.note]
        assert note.startswith(f"not compacted: another process has the lease of {TABLE}")


def test_the_command_says_it_by_its_status(declared_shop: FeatureStore) -> None:
    home = str(declared_shop.settings.home)
    with another(declared_shop) as other, Leases(other.backend.runtime, 0) as held:
        held.take(TABLE)
        result = run("materialize", "--home", home, "--json", "--wait", "0s")
        assert result.exit_code == 3, result.output
        error = json.loads(result.stderr)["error"]
        assert (error["type"], error["details"]["materialized"]) == ("LeaseHeld", ["customer_profile_v1"])
        assert [each["view"] for each in json.loads(result.stdout)] == ["customer_profile"]
    assert run("materialize", "--home", home, "--wait", "0s").exit_code == 0
    assert run("materialize", "--home", home, "--wait", "soon").exit_code == 2
    assert run("materialize", "--home", home, "--wait", "2d").exit_code == 1
