"""Pins: feature tables at the snapshots that a request names, by default at the current ones."""

from dataclasses import replace

import pytest

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound
from featurestore.lakehouse import scans, tables, writes
from featurestore.records import definitions
from featurestore.records.pinned import pin
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve_service
from featurestore.values import times
from tests.granting import grant
from tests.records.conftest import DAY


@pytest.fixture
def plan(versioned: Runtime) -> ServicePlan:
    return resolve_service(versioned, definitions.read_registry(versioned), "of_v").plan


def test_the_current_snapshot_is_pinned(versioned: Runtime, plan: ServicePlan) -> None:
    (pinned,) = pin(versioned, plan).values()
    assert pinned.snapshot_id == pinned.table.snapshot_id is not None
    assert pinned.through is not None
    assert pinned.through >= times.micros(DAY)
    assert not pinned.corrected
    assert pin(versioned, plan, loaded={"v_v1": pinned.table})["v_v1"].table is pinned.table


def test_no_snapshot_is_a_table_without_rows(versioned: Runtime, plan: ServicePlan) -> None:
    pinned = pin(versioned, plan, {"v_v1": None})["v_v1"]
    assert (pinned.snapshot_id, pinned.through, pinned.corrected, pinned.deletions) == (None, None, False, False)
    assert pinned.files(["k"], None, None) is None


def test_an_earlier_snapshot_has_the_state_of_its_time(versioned: Runtime, plan: ServicePlan) -> None:
    before = pin(versioned, plan)["v_v1"]
    rows = scans.read_snapshot(grant(before.table), before.snapshot_id)
    properties = replace(before.state, corrections=2).to_properties()
    writes.append(tables.load(versioned.catalog, before.table.name), rows, summary=properties, properties=properties)
    after = pin(versioned, plan)["v_v1"]
    assert after.snapshot_id != before.snapshot_id
    assert (before.corrected, after.corrected) == (False, True)
    again = pin(versioned, plan, {"v_v1": before.snapshot_id})["v_v1"]
    assert (again.snapshot_id, again.state) == (before.snapshot_id, before.state)


def test_files_outside_of_the_requested_times_are_left_out(versioned: Runtime, plan: ServicePlan) -> None:
    (pinned,) = pin(versioned, plan).values()
    day = times.micros(DAY)
    found = [pinned.files(["x"], lower, upper) for lower, upper in ((None, None), (day, day), (day + 1, None), (None, day - 1))]
    assert [0 if files is None else len(files.extents) for files in found] == [1, 1, 0, 0]


def test_a_table_that_the_service_does_not_read_is_refused(versioned: Runtime, plan: ServicePlan) -> None:
    with pytest.raises(NotFound, match=r"w_v1.*service of_v"):
        pin(versioned, plan, {"w_v1": None})


def test_a_snapshot_that_the_table_does_not_have_is_refused(versioned: Runtime, plan: ServicePlan) -> None:
    with pytest.raises(NotFound, match=r"snapshot.*123"):
        pin(versioned, plan, {"v_v1": 123})
