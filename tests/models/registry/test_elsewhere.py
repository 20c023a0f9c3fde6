"""What is done to models through MLflow itself: the store says what MLflow says, and records it."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from featurestore import FeatureStore, models
from featurestore.errors import NotFound
from featurestore.models.registry.mlflow_registry import TRAINING_SET, MlflowRegistry
from featurestore.models.registry.registry_look import RegistryLook
from featurestore.records import model_events
from featurestore.records.listings import ModelInfo
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World, definitions

pytestmark = VENDOR_WARNINGS


@pytest.fixture(scope="session")
def named(world: World) -> Any:
    """A model of its own, registered as elsewhere version 1."""
    return models.log_model(world.model, training_set=world.training_set, registered_model_name="elsewhere", metrics={"auc": 0.5})


@pytest.fixture
def client(world: World, named: Any) -> Any:
    """MLflow's own client."""
    return mlflow.MlflowClient()


def versions_of(store: FeatureStore, name: str) -> dict[str | None, ModelInfo]:
    return {model.version: model for model in store.models() if model.model == name}


def newest(store: FeatureStore, count: int) -> list[tuple[Any, ...]]:
    events = model_events.list_events(store._runtime)[:count]
    return [(event["event"], event["model"], event["version"], event["alias"], event["stage"], event["origin"]) for event in events]


def test_an_alias_moved_through_mlflow_is_seen_and_recorded(world: World, client: Any) -> None:
    models.set_alias("elsewhere", "champion", 1, approver="her", store=world.store)
    assert versions_of(world.store, "elsewhere")["1"].aliases == ("champion",)
    client.copy_model_version("models:/elsewhere/1", "elsewhere")
    client.set_registered_model_alias("elsewhere", "champion", "2")
    versions = versions_of(world.store, "elsewhere")
    assert (versions["1"].aliases, versions["2"].aliases) == ((), ("champion",))
    assert newest(world.store, 2) == [
        ("alias set", "elsewhere", "2", "champion", None, "mlflow"),
        ("registered", "elsewhere", "2", None, None, "mlflow"),
    ]
    events = len(model_events.list_events(world.store._runtime))
    assert versions_of(world.store, "elsewhere") == versions
    assert len(model_events.list_events(world.store._runtime)) == events
    client.delete_registered_model_alias("elsewhere", "champion")
    assert versions_of(world.store, "elsewhere")["2"].aliases == ()
    assert newest(world.store, 1) == [("alias removed", "elsewhere", "2", "champion", None, "mlflow")]


def test_metrics_logged_after_the_model_are_recorded(world: World, client: Any) -> None:
    with mlflow.start_run() as run:
        info = models.log_model(
            world.model, training_set=world.training_set, name="measured", registered_model_name="measured", metrics={"none": math.nan}
        )
        mlflow.log_metric("late", 0.5)
    assert versions_of(world.store, "measured")["1"].metrics["late"] == 0.5
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("late", 0.6)
    versions = versions_of(world.store, "measured")["1"]
    assert (versions.metrics["late"], versions.model_id) == (0.6, info.model_id)
    assert math.isnan(versions.metrics["none"])
    events = len(model_events.list_events(world.store._runtime))
    assert versions_of(world.store, "measured")["1"].at == versions.at
    assert len(model_events.list_events(world.store._runtime)) == events


def test_versions_registered_copied_staged_and_deleted_are_seen(world: World, named: Any, client: Any) -> None:
    mlflow.register_model(named.model_uri, "by-mlflow")
    client.copy_model_version("models:/by-mlflow/1", "copied")
    copy = versions_of(world.store, "copied")["1"]
    assert copy.training_set == world.training_set.id
    assert copy.snapshots == world.training_set.snapshots
    assert copy.metrics == {"auc": 0.5}
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage("by-mlflow", "1", "Production")
    assert versions_of(world.store, "by-mlflow")["1"].stage == "Production"
    client.rename_registered_model("copied", "renamed")
    assert (list(versions_of(world.store, "copied")), list(versions_of(world.store, "renamed"))) == ([], ["1"])
    client.delete_model_version("by-mlflow", "1")
    assert versions_of(world.store, "by-mlflow") == {}
    client.delete_registered_model("renamed")
    assert versions_of(world.store, "renamed") == {}
    assert ("deleted", "by-mlflow", "1", None, None, "mlflow") in newest(world.store, 5)


def test_a_logged_model_deleted_in_mlflow_is_gone(world: World, client: Any) -> None:
    info = models.log_model(world.model, training_set=world.training_set, name="short-lived")
    assert list(versions_of(world.store, "short-lived")) == [None]
    client.delete_logged_model(info.model_id)
    assert versions_of(world.store, "short-lived") == {}


def test_what_needs_a_deleted_model_says_that_there_is_none(world: World, client: Any) -> None:
    info = models.log_model(world.model, training_set=world.training_set, registered_model_name="deleted")
    models.promote("deleted", 1, approver="ann", store=world.store)
    client.delete_registered_model("deleted")
    spine = worlds.spine(3)
    calls: list[Callable[[str], Any]] = [
        lambda uri: models.score(uri, spine, at="training", store=world.store),
        lambda uri: models.score(uri, spine, at="training", save=True, store=world.store),
        lambda uri: models.training_set(uri, world.store.settings),
        lambda uri: models.attach(uri, training_set=world.training_set, store=world.store),
        world.store.rebuild,
        world.store.audit,
    ]
    for call in calls:
        for uri in ("models:/deleted/1", "models:/deleted@champion", "models:/deleted/latest"):
            with pytest.raises(NotFound, match="deleted"):
                call(uri)
    with pytest.raises(NotFound, match="deleted"):
        models.promote("deleted", 1, approver="ann", store=world.store)
    client.delete_logged_model(info.model_id)
    with pytest.raises(NotFound, match=info.model_id):
        models.score(f"models:/{info.model_id}", spine, at="training", store=world.store)


def test_a_plan_names_the_versions_registered_through_mlflow(world: World, named: Any, client: Any) -> None:
    mlflow.register_model(named.model_uri, "behind")
    step = next(step for step in world.store.plan([definitions("60d")]).steps if step.name == "customer_orders")
    assert "behind/1" in step.models
    client.delete_registered_model("behind")
    step = next(step for step in world.store.plan([definitions("60d")]).steps if step.name == "customer_orders")
    assert "behind/1" not in step.models


def test_only_versions_that_changed_are_read_again(world: World, named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = MlflowRegistry(mlflow.get_tracking_uri())
    before = registry.read()
    asked: list[str] = []
    search = mlflow.MlflowClient.search_model_versions

    def noted(self: Any, filter_string: str | None = None, **more: Any) -> Any:
        asked.append(filter_string or "")
        return search(self, filter_string, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "search_model_versions", noted)
    mlflow.register_model(named.model_uri, "it's new")
    asked.clear()
    after = registry.read()
    assert set(after.versions) - set(before.versions) == {("it's new", "1")}
    # That which changed last before may have changed again in the same millisecond.
    assert 'name = "it\'s new"' in asked
    assert len(asked) <= 2


def test_a_tag_of_a_version_is_seen_if_mlflow_says_that_its_model_has_changed(world: World, named: Any, client: Any) -> None:
    client.create_registered_model("tagged-late")
    client.create_model_version("tagged-late", source=f"{world.store.settings.home_path()}/somewhere")
    look = RegistryLook(world.store._runtime)
    look.look(brief=False)
    # Versions of models that changed last are read again anyway.
    client.update_registered_model("elsewhere", "changed later")
    look.look(brief=False)
    client.set_model_version_tag("tagged-late", "1", TRAINING_SET, world.training_set.id)
    look.look(brief=False, changed=["tagged-late", "unknown"])
    assert newest(world.store, 1) == [("registered", "tagged-late", "1", None, None, "mlflow")]
    client.delete_registered_model("tagged-late")


def test_another_mlflow_deletes_nothing(world: World, named: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    before = model_events.list_events(world.store._runtime)
    RegistryLook(world.store._runtime)._look(f"sqlite:///{tmp_path}/another.db")
    assert "knows no model of this store" in caplog.text
    assert model_events.list_events(world.store._runtime) == before
