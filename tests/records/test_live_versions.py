"""Live versions: the current version of a view, and older ones that a served service or a recorded model reads."""

import pytest

from featurestore.errors import NotFound
from featurestore.records import definitions, model_events
from featurestore.records.live_versions import live_versions
from featurestore.records.model_events import Event
from featurestore.records.runtime import Runtime
from tests.records.conftest import mark_materialized


def live(runtime: Runtime, *names: str, staged: tuple[str, ...] = ()) -> list[str]:
    return [applied.table for applied in live_versions(runtime, definitions.read_registry(runtime), names, staged)]


def test_a_view_with_one_version_has_one_live_version(versioned: Runtime) -> None:
    assert live(versioned, "w") == ["w_v1"]


def test_current_versions_come_before_older_ones_that_are_served(versioned: Runtime) -> None:
    assert live(versioned, "v", "w") == ["v_v2", "w_v1", "v_v1"]


def test_an_older_version_is_live_until_lookups_have_moved_to_the_next(versioned: Runtime) -> None:
    mark_materialized(versioned, "v_v2")
    assert live(versioned, "v") == ["v_v2", "v_v1"], "version 2 is not online yet"
    assert live(versioned, "v", staged=("v_v2",)) == ["v_v2"]


def test_a_version_that_a_model_was_trained_on_is_live(versioned: Runtime) -> None:
    mark_materialized(versioned, "v_v2")
    event = Event("logged", "churn", None, "m-1", "r-1", "of_v-1", {"v_v1": 1})
    model_events.record_events(versioned.catalog, versioned.settings, [event])
    assert live(versioned, "v", staged=("v_v2",)) == ["v_v2", "v_v1"]


def test_an_unknown_view_is_reported_with_the_nearest_name(versioned: Runtime) -> None:
    with pytest.raises(NotFound, match=r"vv.*\bv\b"):
        live(versioned, "vv")
