"""Checks in runs: an error stops a run before it writes anything, a warning is recorded."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg, check, connect
from featurestore.errors import CheckFailed
from tests import shop
from tests.cli.running import as_json, run
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SCHEMA = pa.schema([("customer_id", pa.int64()), ("at", STAMP), ("spend", pa.float64())])

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
last = FeatureView("last", entity=customer, source=orders, features=["spend"])
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over="90d")})
service = FeatureService("service", features=[last])


def rows(*events: tuple[int, datetime, float]) -> pa.Table:
    return pa.Table.from_pylist([{"customer_id": key, "at": at, "spend": spend} for key, at, spend in events], SCHEMA)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def chunk_rows() -> int | None:
    """A test that names it is run with that many rows at once."""
    return None


@pytest.fixture
def store(home: Path, chunk_rows: int | None) -> Iterator[FeatureStore]:
    """Two customers, materialized to the second day without any check."""
    with FeatureStore(settings=Settings(home=home, chunk_rows=chunk_rows)) as store:
        load_source(store, "shop.orders", rows((1, T, 1.0), (2, T + DAY, 2.0)))
        store.apply([service])
        store.materialize(end=T + 2 * DAY)
        yield store


def add(store: FeatureStore, *events: tuple[int, datetime, float]) -> None:
    store.catalog.load_table("shop.orders").append(rows(*events))


def with_checks(view: FeatureView, *declared: Any) -> FeatureView:
    return replace(view, checks=list(declared))


def everything(store: FeatureStore) -> tuple[Any, ...]:
    """All that a reader could see of a run: the table's snapshots, branches and tags, the watermark, the online rows."""
    table = store.catalog.load_table("features.last_v1")
    features = store.online_features("service", [{"customer_id": key} for key in (1, 2, 3)])
    return table.snapshots(), table.refs(), store.view("last")["materialized_through"], features.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("chunk_rows", [None, pytest.param(1, marks=pytest.mark.slow)], ids=["at once", "in chunks"])
def test_a_failed_check_stops_the_run_and_nothing_is_written(store: FeatureStore) -> None:
    store.apply([with_checks(last, check.that("spend >= 0"), check.that("spend < 9", severity="warn"))])
    add(store, (3, T + 2 * DAY, -1.0), (1, T + 40 * DAY, 10.0))
    before = everything(store)
    for _ in range(2):
        with pytest.raises(CheckFailed) as caught:
            store.materialize(end=T + 50 * DAY)
        assert caught.value.message.startswith(
            "view last: 1 check failed; nothing was written:\n"
            "  1 of 2 rows (50.0%) breaks spend >= 0, e.g. customer_id=3 at 2026-03-03T00:00:00Z\n"
        )
        assert caught.value.details["view"] == "last"
        assert [entry["name"] for entry in caught.value.details["checks"]] == ["spend >= 0"]
        assert everything(store) == before
    store.catalog.load_table("shop.orders").delete("spend < 0")
    [done] = store.materialize(end=T + 50 * DAY)
    assert (done.rows_appended, [outcome.passed for outcome in done.checks]) == (1, [True, False])


@pytest.mark.slow
def test_a_run_goes_through_once_its_check_is_loosened(store: FeatureStore) -> None:
    add(store, (3, T + 2 * DAY, -1.0))
    store.apply([with_checks(last, check.that("spend >= 0"))])
    with pytest.raises(CheckFailed):
        store.materialize(end=T + 4 * DAY)
    store.apply([with_checks(last, check.that("spend >= 0", severity="warn"))])
    [done] = store.materialize(end=T + 4 * DAY)
    assert (done.rows_appended, done.published, store.view("last")["version"]) == (1, 1, 1)
    [outcome] = done.checks
    assert (outcome.name, outcome.severity, outcome.passed) == ("spend >= 0", "warn", False)


@pytest.mark.slow
def test_outcomes_are_recorded_with_the_snapshot(store: FeatureStore) -> None:
    store.apply([with_checks(last, check.that("spend >= 0", severity="warn"), check.rows(at_least=1))])
    add(store, (3, T + 3 * DAY, -1.0))
    [done] = store.materialize(end=T + 4 * DAY)
    snapshot = store.catalog.load_table("features.last_v1").current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    said = json.loads(snapshot.summary.additional_properties["featurestore.checks"])
    assert done.to_dict()["checks"] == [outcome.to_dict() for outcome in done.checks]
    assert [(entry["name"], entry["passed"]) for entry in said] == [("spend >= 0", False), ("rows(at_least=1)", True)]
    assert done.checks[0].message == "1 of 1 row (100.0%) breaks spend >= 0, e.g. customer_id=3 at 2026-03-04T00:00:00Z"
    assert said[0]["message"] == "1 of 1 row (100.0%) breaks spend >= 0"


@pytest.mark.slow
def test_a_run_that_appends_nothing_is_held_against_the_checks_as_well(store: FeatureStore) -> None:
    store.apply([with_checks(last, check.that("spend > 1"))])
    assert [run.checks for run in store.materialize(end=T + 2 * DAY)] == [()]  # materialized that far: nothing to compute
    before = everything(store)
    with pytest.raises(CheckFailed, match=r"1 of 2 rows \(50\.0%\) breaks spend > 1, e\.g\. customer_id=1"):
        store.materialize(start=T, end=T + 2 * DAY)
    assert everything(store) == before


@pytest.mark.slow
def test_too_few_rows_fail_a_run_that_had_something_to_compute(store: FeatureStore) -> None:
    store.apply([with_checks(last, check.rows(at_least=2))])
    [done] = store.materialize("last", end=T + 3 * DAY)
    assert (done.rows_computed, [(outcome.passed, outcome.message) for outcome in done.checks]) == (
        0,
        [(True, "the run found nothing new to compute")],
    )
    assert store.view("last")["materialized_through"] == "2026-03-04T00:00:00.000000Z"
    for start, end in ((T + 3 * DAY, T + 4 * DAY), (T + DAY, T + 4 * DAY)):
        with pytest.raises(CheckFailed, match=r"the run computed [01] rows?; expected at least 2"):
            store.materialize("last", start=start, end=end)
    add(store, (3, T + 3 * DAY, 1.0))
    with pytest.raises(CheckFailed, match="the run computed 1 row; expected at least 2"):
        store.materialize("last", end=T + 4 * DAY)
    load_source(store, "shop.none", rows())
    store.apply([replace(last, name="none", source=replace(orders, name="none", table="shop.none"), checks=[check.rows(at_least=1)])])
    with pytest.raises(CheckFailed, match="the run computed 0 rows; expected at least 1"):
        store.materialize("none", end=T + 4 * DAY)


@pytest.mark.slow
def test_a_source_that_has_stopped_is_not_fresh(store: FeatureStore) -> None:
    store.apply([with_checks(last, check.fresh(within="2d")), with_checks(counts, check.fresh(within="2d"))])
    done = {run.view: run for run in store.materialize(end=T + 3 * DAY)}
    assert {view: [outcome.passed for outcome in run.checks] for view, run in done.items()} == {"last": [True], "counts": [True]}
    assert done["last"].rows_computed == 0
    for view in ("last", "counts"):
        with pytest.raises(CheckFailed, match=r"source orders has no event in the 2d before 2026-03-05T00:00:00Z"):
            store.materialize(view, end=T + 4 * DAY)
        assert store.view(view)["materialized_through"] == "2026-03-04T00:00:00.000000Z"


@pytest.mark.slow
def test_an_older_version_keeps_its_own_checks(store: FeatureStore) -> None:
    other = FeatureService("other", features=[with_checks(last, check.that("spend >= 0", severity="warn"))])
    store.apply([other])
    wider = replace(last, features={"spend": "spend", "twice": "spend * 2"}, checks=[check.that("twice >= 0", severity="warn")])
    store.apply([FeatureService("service", features=[wider])])
    add(store, (3, T + 3 * DAY, -1.0))
    done = store.materialize("last", end=T + 4 * DAY)
    assert {run.table: [outcome.name for outcome in run.checks] for run in done} == {"last_v1": ["spend >= 0"], "last_v2": ["twice >= 0"]}


@pytest.mark.slow
def test_the_command_line_shows_warnings_and_fails_on_errors(store: FeatureStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(home))
    store.apply([with_checks(last, check.that("spend >= 0", severity="warn", name="no refunds"))])
    add(store, (3, T + 3 * DAY, -1.0))
    shown = run("materialize", "last", "--end", "2026-03-05")
    assert shown.exit_code == 0
    assert "last: no refunds: 1 of 1 row (100.0%) breaks spend >= 0, e.g. customer_id=3" in " ".join(shown.stdout.split())
    assert as_json("show", "views", "last")["checks"] == {"no refunds": "warn"}
    store.apply([with_checks(last, check.that("spend >= 0", name="no refunds"))])
    refused = run("materialize", "last", "--start", "2026-03-01", "--end", "2026-03-05")
    assert refused.exit_code == 1
    assert "view last: 1 check failed; nothing was written:" in refused.stderr
    assert "no refunds: 1 of 3 rows (33.3%) breaks spend >= 0" in refused.stderr


@pytest.mark.slow
def test_the_client_of_a_server_is_told_the_same(store: FeatureStore) -> None:
    add(store, (3, T + 3 * DAY, -1.0))
    with shop.serving(store, jobs=True) as url, connect(url, timeout=60) as remote:
        remote.apply([with_checks(last, check.that("spend >= 0"))])
        with pytest.raises(CheckFailed, match=r"view last: 1 check failed; nothing was written:\n  1 of 1 row"):
            remote.materialize(["last"], end=T + 4 * DAY)
        remote.apply([with_checks(last, check.that("spend >= 0", severity="warn"))])
        [done] = remote.materialize(["last"], end=T + 4 * DAY)
    [outcome] = done.checks
    assert (outcome.severity, outcome.passed) == ("warn", False)
