"""Events of models: their order, and what each registered version needs. No MLflow is involved."""

import pytest

from featurestore import FeatureStore
from featurestore.records import model_events
from featurestore.records.model_events import Event
from featurestore.records.recorded_models import recorded_models, registered_models
from featurestore.records.runtime import Runtime
from featurestore.values import times

LOGGED = Event("logged", "churn", None, "m-1", "r-1", "churn-1", {"orders_v1": 1 << 62, "empty_v1": None}, {"auc": 0.5})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by a second each time it is read."""
    moments = iter(range(1_000_000, 1_000_000_000, 1_000_000))
    monkeypatch.setattr(times, "now", lambda: next(moments))


def record(store: FeatureStore, *events: Event) -> None:
    """Record events in one commit."""
    model_events.record_events(store.catalog, store.settings, events)


def test_there_are_no_events_before_the_first(runtime: Runtime) -> None:
    assert model_events.list_events(runtime) == []
    assert registered_models(runtime) == []


def test_events_are_newest_first_and_json(store: FeatureStore, runtime: Runtime) -> None:
    record(store, LOGGED, LOGGED.of("registered", "churn", "1"))
    record(store, Event("alias set", "churn", "1", "m-1", "r-1", "churn-1", {}, alias="champion", approver="her"))
    events = model_events.list_events(runtime)
    assert [event["event"] for event in events] == ["alias set", "registered", "logged"]
    assert events[2] == {
        **vars(LOGGED),
        "snapshots": {"orders_v1": str(1 << 62), "empty_v1": None},
        "metrics": {"auc": 0.5},
        "at": "1970-01-01T00:00:01.000000Z",
    }


def test_a_registered_version_needs_the_tables_of_all_its_events(store: FeatureStore, runtime: Runtime) -> None:
    registered = LOGGED.of("registered", "churn", "1")
    record(store, LOGGED, registered)
    record(store, Event("attached", "churn", "1", "m-1", "r-1", "churn-2", {"orders_v2": 3}))
    (model,) = registered_models(runtime)
    assert (model.label, model.training_set, model.snapshots) == ("churn/1", "churn-2", {"orders_v2": "3"})
    assert (sorted(model.tables), sorted(model.training_sets)) == (["empty_v1", "orders_v1", "orders_v2"], ["churn-1", "churn-2"])
    assert recorded_models(runtime) == [model], "the logged model is the registered one"
    record(store, registered.of("deleted", "churn", "1"))
    assert registered_models(runtime) == []


def test_an_alias_is_that_of_its_last_event(store: FeatureStore, runtime: Runtime) -> None:
    one, two = LOGGED.of("registered", "churn", "1"), LOGGED.of("registered", "churn", "2")
    record(store, one, two)
    for event, version, alias in (("set", "1", "champion"), ("set", "1", "old"), ("set", "2", "champion"), ("removed", "1", "old")):
        record(store, Event(f"alias {event}", "churn", version, "m-1", "r-1", "churn-1", {}, alias=alias))
    assert {model.version: list(model.aliases) for model in recorded_models(runtime)} == {"1": [], "2": ["champion"]}
