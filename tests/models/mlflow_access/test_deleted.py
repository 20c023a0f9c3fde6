"""Versions that were deleted in MLflow are said to be: their names are no typing errors, and what names them is listed once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from featurestore import models
from featurestore.errors import NotFound
from featurestore.models import LoadedModels
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@dataclass(frozen=True)
class Gone:
    """A registered model of three versions, of which the first and the second, with the alias late, are deleted."""

    world: World
    request_id: str

    def refused(self, act: Callable[[], Any]) -> str:
        """The message of a verb that does not find a model."""
        with pytest.raises(NotFound) as caught:
            act()
        assert "did you mean" not in caught.value.message
        assert "; known:" not in caught.value.message
        return caught.value.message


@pytest.fixture(scope="module")
def gone(world: World) -> Gone:
    for name in ("gone", "gone", "gone", "goner"):
        models.log_model(world.model, training_set=world.training_set, name=name, registered_model_name=name, store=world.store)
    models.set_alias("gone", "late", 2, approver="her", store=world.store)
    models.score("models:/gone/1", worlds.spine(2, label=False), log=True, store=world.store)
    logged = world.store.catalog.load_table("inference.gone").scan().to_arrow()["request_id"][0].as_py()
    client = mlflow.MlflowClient()
    for version in ("1", "2"):
        client.delete_model_version("gone", version)
    return Gone(world, logged)


ACTS: dict[str, Callable[[World, str], Any]] = {
    "audit": lambda world, uri: world.store.audit(uri),
    "rebuild": lambda world, uri: world.store.rebuild(uri),
    "score": lambda world, uri: models.score(uri, worlds.keys(3), at="online", store=world.store),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_deleted_version_is_said_to_be(gone: Gone, act: str) -> None:
    message = gone.refused(lambda: ACTS[act](gone.world, "models:/gone/1"))
    assert message.startswith("no version '1' in model gone: it was deleted in MLflow, which was found at 20")
    assert message.endswith(f"its training set is {gone.world.training_set.id}")
    message = gone.refused(lambda: ACTS[act](gone.world, "models:/gone@late"))
    assert "no alias 'late' in model gone: it was that of version 2, which was deleted in MLflow" in message


def test_what_a_server_and_a_promotion_do_not_find_is_said_to_be_deleted(gone: Gone) -> None:
    store = gone.world.store
    for followed in (False, True):
        loaded = LoadedModels(store, followed=followed)
        assert "version '1' in model gone: it was deleted" in gone.refused(partial(loaded.get, "gone", version=1))
        assert "it was that of version 2" in gone.refused(partial(loaded.get, "gone", alias="late"))
    assert "it was deleted" in gone.refused(lambda: models.promote("gone", 1, approver="ann", store=store))


def test_a_name_that_never_was_has_the_nearest(gone: Gone) -> None:
    known = {"models:/gonee/1": "did you mean 'gone'", "models:/gone/9": "known: '3'", "models:/gone@soon": "there are none"}
    for uri, nearest in known.items():
        with pytest.raises(NotFound) as caught:
            gone.world.store.audit(uri)
        assert nearest in caught.value.message


def test_models_of_a_name_that_are_no_version_any_more_are_listed_once(gone: Gone) -> None:
    store = gone.world.store
    client = mlflow.MlflowClient()
    listed = [model for model in store.models() if model.model == "gone" and model.version is None]
    assert len(listed) == 2
    counted = Counter((model.model, model.version) for model in store.impact("shop.orders").models)
    assert counted["gone", None] == counted["gone", "3"] == counted["goner", "1"] == 1
    for retained in store.explain_retention():
        assert not [reason for reason, times in Counter(retained.by).items() if times > 1], retained
    client.delete_registered_model("gone")
    message = gone.refused(lambda: store.audit("models:/gone@late"))
    assert "it was that of version 2" in message
    message = gone.refused(lambda: LoadedModels(store).get("gone"))
    assert "no model 'gone' in MLflow at " in message
    assert ": its versions 1, 2, 3 were deleted in MLflow" in message
    assert Counter((model.model, model.version) for model in store.impact("shop.orders").models)["gone", None] == 1


def test_a_logged_model_that_was_deleted_is_said_to_be(gone: Gone) -> None:
    world = gone.world
    info = models.log_model(world.model, training_set=world.training_set, name="unregistered", store=world.store)
    mlflow.MlflowClient().delete_logged_model(info.model_id)
    message = gone.refused(lambda: world.store.audit(f"models:/{info.model_id}"))
    assert f"no model '{info.model_id}' in MLflow at " in message
    assert ": unregistered was deleted in MLflow" in message


def test_a_prediction_of_a_deleted_version_is_replayed_with_the_logged_model_while_that_exists(gone: Gone) -> None:
    store, client = gone.world.store, mlflow.MlflowClient()
    outcome = store.replay(gone.request_id)
    assert outcome.equal
    [note] = outcome.notes
    assert note.startswith("no version '1' in model gone: it was deleted in MLflow")
    id = store.catalog.load_table("inference.gone").scan().to_arrow()["model_id"][0].as_py()
    assert note.endswith(f"; the logged model {id}, which it was made from, was computed with")
    client.delete_logged_model(id)
    outcome = store.replay(gone.request_id)
    assert not outcome.equal
    [why] = outcome.why
    assert why.startswith(
        "the prediction and its features cannot be computed again: no version '1' in model gone: it was deleted in MLflow"
    )
    assert "did you mean" not in why
    assert outcome.notes == ("what was logged remains: the keys, the features, their snapshots and the prediction",)
    assert outcome.prediction.logged is not None
