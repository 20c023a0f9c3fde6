"""The served version of a service: the newest whose views are all materialized, and online also published."""

import pytest

from featurestore.errors import NotFound, NotReady
from featurestore.records import definitions
from featurestore.records.online_tables import OnlineTables
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import ResolvedService, Services, resolve_service
from tests.records.conftest import mark_materialized


def resolve(runtime: Runtime, name: str, online: bool = False, staged: tuple[str, ...] = ()) -> ResolvedService:
    return resolve_service(runtime, definitions.read_registry(runtime), name, online, staged)


def test_a_version_is_not_served_before_its_views_are_materialized(versioned: Runtime) -> None:
    resolved = resolve(versioned, "of_v")
    assert resolved.plan.version == 1
    assert resolved.notes == ("service of_v version 2 is not materialized yet; version 1 was used",)
    assert set(resolved.tables) == {"v_v1", "v_v2"}, "the tables that were loaded for the choice"
    mark_materialized(versioned, "v_v2")
    resolved = resolve(versioned, "of_v")
    assert (resolved.plan.version, resolved.notes) == (2, ())


def test_lookups_stay_on_the_published_version_until_the_next_one_is_published_or_staged(versioned: Runtime) -> None:
    mark_materialized(versioned, "v_v2")
    assert resolve(versioned, "of_v", online=True).plan.version == 1
    assert resolve(versioned, "of_v", online=True, staged=("v_v2",)).plan.version == 2


def test_without_a_materialized_version_the_newest_is_served(versioned: Runtime) -> None:
    resolved = resolve(versioned, "of_w", online=True)
    assert (resolved.plan.version, resolved.notes) == (1, ())


def test_an_unknown_service_is_reported_with_the_nearest_name(versioned: Runtime) -> None:
    with pytest.raises(NotFound, match=r"of_vv.*of_v"):
        resolve(versioned, "of_vv")


def test_a_plan_is_cached_until_the_online_store_changes(versioned: Runtime) -> None:
    services = Services(versioned, OnlineTables(versioned))
    assert services.cached("of_v") is None
    plan = services.current("of_v")
    assert services.current("of_v") is services.cached("of_v") is plan
    assert services.cached_with_generation("of_v") == (plan, versioned.online.generation())
    versioned.online.touch()
    assert services.cached("of_v") is None
    assert services.cached_with_generation("of_v") is None
    # Nothing was applied: what follows from the plan, such as compiled readers, is still valid.
    assert services.current("of_v") is plan


def test_a_plan_is_not_cached_if_the_online_store_has_lost_a_table(versioned: Runtime) -> None:
    versioned.online.drop("v_v1")
    services = Services(versioned, OnlineTables(versioned))
    with pytest.raises(NotReady, match="v_v1"):
        services.current("of_v")
    assert services.cached("of_v") is None


def test_a_known_loss_sends_lookups_to_the_route_that_reports_it(versioned: Runtime) -> None:
    online_tables = OnlineTables(versioned)
    services = Services(versioned, online_tables)
    services.current("of_v")
    online_tables.lost = {"v_v1": "it is missing"}
    assert services.cached_with_generation("of_v") is None
