"""Leases of tables: one process at a time has one, whatever the catalog, and nobody waits for one that is gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore
from featurestore.errors import LeaseHeld
from featurestore.lakehouse import tables
from featurestore.lakehouse.property_commits import PropertyChange, change_properties
from featurestore.lakehouse.table import Table
from featurestore.records import lease_claims, leases
from featurestore.records.lease_claims import PREFIX, Claim, make_claim, make_key
from featurestore.records.leases import Leases, leases_table
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from tests.faults.wires import wire
from tests.lakehouse import postgres
from tests.waiting import wait_until

SCHEMA = pa.schema([("k", pa.int64())])
NAME = "features.f"
HOLDER = """
import sys
from featurestore import FeatureStore
from featurestore.records.leases import Leases
with FeatureStore(home=sys.argv[1]) as store:
    leases = Leases(store.backend.runtime, 0)
    leases.take("features.f")
    print("taken", flush=True)
    sys.stdin.read()
"""


def claims(runtime: Runtime) -> dict[str, Any]:
    table = tables.load(runtime.catalog, leases_table(runtime.settings))
    return {name: json.loads(value) for name, value in table.properties.items() if name.startswith(PREFIX)}


def add(runtime: Runtime, claim: Claim, key: str = make_key(NAME)) -> None:
    """A claim, as another process has made it."""
    table = tables.create_if_absent(runtime.catalog, leases_table(runtime.settings), leases.SCHEMA)
    tables.set_properties(table, {key: claim.to_property()})


def elsewhere(seconds: float, beat: int = 0) -> Claim:
    """A claim of another machine, whose clock is years ahead."""
    return Claim("elsewhere", 4711, "another boot", "1", "2099-01-01T00:00:00.000000Z", seconds, beat)


@pytest.fixture
def table(runtime: Runtime) -> Table:
    return tables.create(runtime.catalog, NAME, SCHEMA)


def test_a_lease_is_taken_by_a_commit_and_leaves_nothing(runtime: Runtime, table: Table) -> None:
    with Leases(runtime, 0) as own:
        assert not own.hold(table), "nobody has changed it"
        (claim,) = claims(runtime).values()
        assert claim["pid"] == os.getpid()
        assert not own.hold(table), "it is held already"
    assert claims(runtime) == {}
    stored = tables.load(runtime.catalog, leases_table(runtime.settings))
    assert stored.snapshot_ids == []


def test_who_does_not_wait_is_told_who_has_it(runtime: Runtime, table: Table) -> None:
    with Leases(runtime, 60) as own, Leases(runtime, 0) as other:
        own.hold(table)
        with pytest.raises(LeaseHeld, match=rf"the lease of {NAME}: process {os.getpid()} on \S+, since .*Nothing was done") as caught:
            other.hold(table)
        assert caught.value.details["holder"]["pid"] == os.getpid()
        own.release(NAME)
        own.take("features.g")
        assert other.hold(table) is False, "it was released with the next one that was taken"
        with pytest.raises(LeaseHeld, match=r"features\.g.*; waited 50ms for it"):
            Leases(runtime, 0.05).take("features.g")


def test_who_waits_learns_that_the_table_has_changed(runtime: Runtime, table: Table) -> None:
    told: list[Claim] = []
    with ThreadPoolExecutor() as pool, Leases(runtime, 60) as other:
        with Leases(runtime, 0) as own:
            own.hold(table)
            waiting = pool.submit(other.hold, table, told.append)
            wait_until(lambda: told)
            tables.set_properties(tables.load(runtime.catalog, NAME), {"a": "b"})
        assert waiting.result(timeout=60) is True
    assert [claim.pid for claim in told] == [os.getpid()]


def test_no_lease_is_kept_while_another_is_waited_for(runtime: Runtime) -> None:
    """Two processes that want the same two in different orders end."""

    def take_both(names: list[str]) -> None:
        with Leases(runtime, 60) as own:
            for name in names:
                own.take(name)
                both.wait(60)
                own.release(name)

    both = threading.Barrier(2)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(take_both, ["a", "b"]), pool.submit(take_both, ["b", "a"])]:
            done.result(timeout=120)
    assert claims(runtime) == {}


@pytest.mark.slow
def test_a_process_that_was_killed_is_not_waited_for(runtime: Runtime, store: FeatureStore, table: Table) -> None:
    command = [sys.executable, "-c", HOLDER, str(store.settings.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        with pytest.raises(LeaseHeld, match=f"process {process.pid} "):
            Leases(runtime, 0).hold(table)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Leases(runtime, 0) as own:
        own.hold(table)
        assert [claim["pid"] for claim in claims(runtime).values()] == [os.getpid()]


def test_a_number_that_another_process_has_got_is_another_process(runtime: Runtime, table: Table) -> None:
    add(runtime, replace(make_claim(), started="1"))
    with Leases(runtime, 0) as own:
        own.hold(table)


def test_a_claim_lapses_when_it_was_seen_unchanged_for_so_long(runtime: Runtime, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the observer's own clock: that of the other machine does not matter."""
    now, key = [1000.0], make_key(NAME)
    monkeypatch.setattr(lease_claims.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    add(runtime, elsewhere(30.0), key)

    def can_take() -> bool:
        with Leases(runtime, 0) as own:
            try:
                own.hold(table)
            except LeaseHeld:
                return False
            return True

    assert not can_take()
    now[0] += 29
    assert not can_take()
    add(runtime, elsewhere(30.0, beat=1), key)
    now[0] += 2
    assert not can_take(), "it was renewed"
    now[0] += 29
    assert not can_take()
    now[0] += 2
    assert can_take()
    assert claims(runtime) == {}


def test_a_claim_is_renewed_and_its_loss_is_said(
    runtime: Runtime, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.06)
    with Leases(runtime, 0) as own:
        own.hold(table)
        wait_until(lambda: [claim["beat"] for claim in claims(runtime).values()] > [1])
        (key,) = claims(runtime)
        stored = tables.load(runtime.catalog, leases_table(runtime.settings))
        change_properties(stored, lambda properties: PropertyChange(drop=[key]), undone="")
        wait_until(lambda: f"taken over the lease of {NAME}" in caplog.text)
    assert claims(runtime) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "rest"])
def test_one_at_a_time_has_it_in_every_catalog(tmp_path: Path, kind: str) -> None:
    """Also in one that compares no properties, and for those that start from an older state of the table of leases."""
    inside, most, turns = 0, 0, 0
    counting = threading.Lock()

    def work(settings: Settings) -> None:
        nonlocal inside, most, turns
        with FeatureStore(settings=settings) as store:
            for _ in range(4):
                with Leases(store.backend.runtime, 120) as own:
                    own.take(NAME)
                    with counting:
                        inside += 1
                        turns += 1
                        most = max(most, inside)
                    time.sleep(0)
                    with counting:
                        inside -= 1

    with postgres.server() as address, wire(kind, tmp_path, address) as reached, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, reached.settings(tmp_path / "home")) for _ in range(4)]:
            done.result(timeout=300)
        assert (turns, most) == (16, 1)
        with FeatureStore(settings=reached.settings(tmp_path / "home")) as store:
            assert claims(store.backend.runtime) == {}


def test_work_goes_on_where_there_is_no_lease(
    runtime: Runtime, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = tables.create_if_absent(runtime.catalog, leases_table(runtime.settings), leases.SCHEMA)
    Path(stored.metadata_location.removeprefix("file://")).unlink()
    with Leases(runtime, 0) as own:
        own.hold(table)
        own.hold(table)
    assert caplog.text.count("there is no lease of features.f") == 1
